//! Models over rows of features: gradient-boosted trees, linear models, small nets, rules; and why they say what they say.
