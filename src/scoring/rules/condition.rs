//! One condition over the features of a row: true, false, or failed.

use super::Fault;
use crate::config::nearest;
use serde::Deserialize;

/// As it stands in the file; exactly one test, or one of `all`, `any`, `not`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    feature: Option<String>,
    gt: Option<f64>,
    ge: Option<f64>,
    lt: Option<f64>,
    le: Option<f64>,
    eq: Option<f64>,
    ne: Option<f64>,
    r#in: Option<Vec<f64>>,
    between: Option<[f64; 2]>,
    missing: Option<bool>,
    all: Option<Vec<Written>>,
    any: Option<Vec<Written>>,
    not: Option<Box<Written>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Above(f64),
    AtLeast(f64),
    Below(f64),
    AtMost(f64),
    In(Vec<f64>),
    NotIn(Vec<f64>),
    /// Both ends belong to it.
    Between(f64, f64),
    Missing(bool),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Feature { at: usize, test: Test },
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// The feature that has no value, by its number: the condition is neither true nor false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed(pub usize);

impl Condition {
    /// All of `list`; `place` names the rule.
    pub fn all(list: &[Written], names: &[String], place: &str) -> Result<Self, Fault> {
        Ok(Self::All(some(list, names, place)?))
    }

    fn of(written: &Written, names: &[String], place: &str) -> Result<Self, Fault> {
        let Written { feature, gt, ge, lt, le, eq, ne, r#in, between, missing, all, any, not } = written;
        let mut tests = Vec::new();
        tests.extend(gt.map(Test::Above));
        tests.extend(ge.map(Test::AtLeast));
        tests.extend(lt.map(Test::Below));
        tests.extend(le.map(Test::AtMost));
        tests.extend(eq.map(|x| Test::In(vec![x])));
        tests.extend(ne.map(|x| Test::NotIn(vec![x])));
        tests.extend(r#in.clone().map(Test::In));
        tests.extend(between.map(|[from, to]| Test::Between(from, to)));
        tests.extend(missing.map(Test::Missing));
        let groups = usize::from(all.is_some()) + usize::from(any.is_some()) + usize::from(not.is_some());
        let wrong = |cause: String, remedy: &str| Err(Fault::unsupported(place, cause, remedy));
        match (feature, tests.pop(), groups) {
            (Some(feature), Some(test), 0) if tests.is_empty() => {
                let Some(at) = names.iter().position(|name| name == feature) else {
                    let near = nearest(feature, names.iter().map(String::as_str));
                    let hint = near.map_or(String::new(), |near| format!(", did you mean {near:?}"));
                    return wrong(format!("there is no feature {feature:?}{hint}"), "name a declared feature");
                };
                match test.odd() {
                    Some(cause) => wrong(format!("the condition on {feature:?} {cause}"), "correct the numbers"),
                    None => Ok(Self::Feature { at, test }),
                }
            }
            (None, None, 1) => match (all, any, not) {
                (Some(list), ..) => Ok(Self::All(some(list, names, place)?)),
                (_, Some(list), _) => Ok(Self::Any(some(list, names, place)?)),
                (.., Some(one)) => Ok(Self::Not(Box::new(Self::of(one, names, place)?))),
                _ => wrong("a condition is empty".into(), "write a test"),
            },
            _ => {
                let remedy = "write `feature` with one of gt, ge, lt, le, eq, ne, in, between, missing, or one of all, any, not";
                wrong("a condition has not exactly one test".into(), remedy)
            }
        }
    }

    /// What does not depend on the missing value is true or false all the same: `any` with one true part, `all` with one false.
    pub fn holds(&self, row: &[f64]) -> Result<bool, Failed> {
        match self {
            Self::Feature { at, test } => test.holds(*row.get(*at).ok_or(Failed(*at))?).ok_or(Failed(*at)),
            Self::Not(condition) => condition.holds(row).map(|holds| !holds),
            Self::All(list) => decided(list, row, false),
            Self::Any(list) => decided(list, row, true),
        }
    }
}

fn some(list: &[Written], names: &[String], place: &str) -> Result<Vec<Condition>, Fault> {
    if list.is_empty() {
        return Err(Fault::unsupported(place, "a list of conditions is empty", "write a condition"));
    }
    list.iter().map(|written| Condition::of(written, names, place)).collect()
}

/// One part that is `value` decides; else a part that failed does; else it is not `value`.
fn decided(list: &[Condition], row: &[f64], value: bool) -> Result<bool, Failed> {
    let mut failed = None;
    for condition in list {
        match condition.holds(row) {
            Ok(holds) if holds == value => return Ok(value),
            Ok(_) => {}
            Err(why) => failed = failed.or(Some(why)),
        }
    }
    failed.map_or(Ok(!value), Err)
}

impl Test {
    fn odd(&self) -> Option<&'static str> {
        let numbers = match self {
            Self::Above(x) | Self::AtLeast(x) | Self::Below(x) | Self::AtMost(x) => std::slice::from_ref(x),
            Self::In(list) | Self::NotIn(list) => list,
            Self::Between(from, to) if from > to => return Some("has its bounds the wrong way round"),
            Self::Between(from, to) => &[*from, *to],
            Self::Missing(_) => &[0.0],
        };
        match numbers {
            [] => Some("has an empty list"),
            _ if numbers.iter().any(|x| x.is_nan()) => Some("compares with nan"),
            _ => None,
        }
    }

    fn holds(&self, x: f64) -> Option<bool> {
        match self {
            Self::Missing(missing) => return Some(x.is_nan() == *missing),
            _ if x.is_nan() => return None,
            _ => {}
        }
        Some(match self {
            Self::Above(than) => x > *than,
            Self::AtLeast(least) => x >= *least,
            Self::Below(than) => x < *than,
            Self::AtMost(most) => x <= *most,
            Self::In(list) => list.contains(&x),
            Self::NotIn(list) => !list.contains(&x),
            Self::Between(from, to) => (*from..=*to).contains(&x),
            Self::Missing(_) => false,
        })
    }
}
