use super::*;
use crate::inference::Options;
use std::collections::BTreeMap;

/// Would catch: a function whose model goes for another, though its pipeline pins it; one that stays without being told to.
#[test]
fn a_pipeline_pins_the_model_of_any_function() {
    let models = [
        ("embed", "functions/one"),
        ("classify", "functions/one"),
        ("tag", "functions/tag"),
        ("translate", "translate/marian"),
        ("summarize", "translate/bart"),
    ];
    for (function, folder) in models {
        for pin in [true, false] {
            let text = format!(
                r#"
                [models.m]
                path = "{}/tests/fixtures/{folder}"
                [[pipeline]]
                name = "stage"
                topic = "t"
                event = "json"
                fields = {{ text = "text" }}
                function = "{function}"
                model = "m"
                pin = {pin}
                "#,
                env!("CARGO_MANIFEST_DIR")
            );
            let config = Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap();
            let options = Options::default();
            let registry = Registry::new(options.clone());
            let _function = super::function(&config, &config.pipeline[0], &registry).unwrap();
            let held = options.memory.held();
            assert!(held.len() == 1 && held[0].loaded && held[0].pinned == pin, "{function}: {held:?}");
        }
    }
}
