use super::*;

fn parse(text: &str) -> Result<Recommend, toml::de::Error> {
    toml::from_str(text)
}

/// Would catch a sample that no longer loads, or declares what cannot run.
#[test]
fn the_shipped_samples_load() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples");
    let mut loaded = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("recommend-")) {
            let config = crate::config::Config::load(&path, &BTreeMap::new()).unwrap();
            assert!(!config.recommend.unwrap().blend.weights.is_empty(), "{}", path.display());
            loaded += 1;
        }
    }
    assert_eq!(loaded, 5);
}

/// Would catch a unit that is read as another, and a time that is none.
#[test]
fn spans_are_read_and_written_with_their_unit() {
    #[derive(Debug, Serialize, Deserialize)]
    struct One {
        span: Span,
    }
    for (text, ms, written) in
        [("90s", 90_000, "90s"), ("30m", 1_800_000, "30m"), ("48h", 172_800_000, "2d"), ("1 d", 86_400_000, "1d")]
    {
        let one: One = toml::from_str(&format!("span = \"{text}\"")).unwrap();
        assert_eq!((one.span.ms(), one.span.to_string().as_str()), (ms, written));
    }
    for text in ["0s", "-1d", "1.5h", "d", "5", "99999999d", "1w"] {
        assert!(toml::from_str::<One>(&format!("span = \"{text}\"")).is_err(), "{text}");
    }
}

/// Would catch a contradiction that is let through, or told without its place.
#[test]
fn contradictions_are_found() {
    let cases = [
        ("entries = 0", "entries"),
        ("at = 'event.'", "at is no path"),
        ("interest = { model = 'm', dimensions = 2, half_life = '1d', vector = '' }", "interest.vector is no path"),
        ("history = { items = 5 }\ncovisit = [{ name = 'n' }]", "history.items keeps 5"),
        ("kinds = { view = -1.0 }", "kinds.view"),
        ("kinds = { hide = 1.0 }", "kinds.hide"),
        ("popularity = [{ name = 'a' }, { name = 'a' }]", "two signals"),
        ("popularity = [{ name = 'a', half_life = '1d', window = '1d' }]", "keep one"),
        ("popularity = [{ name = 'a', scope = 'category' }]", "[recommend.affinity]"),
        ("trending = { short = '2d', long = '1d' }", "swap"),
        ("affinity = { half_life = '59s' }", "affinity.half_life = 59s"),
        ("session_neighbours = {}", "[recommend.session]"),
        ("covisit = [{ name = 'n', power = 0.0 }]", "covisit \"n\""),
        ("popularity = [{ name = 'popular' }]\nblend = { weights = { populr = 1.0 } }", "did you mean \"popular\"?"),
        ("blend = { fallback = ['x'] }", "blend.fallback"),
        ("interest = { model = 'm', dimensions = 0, half_life = '1d' }", "interest.dimensions"),
    ];
    for (text, part) in cases {
        let found = parse(text).unwrap().findings().join("\n");
        assert!(found.contains(part), "{text}: {found}");
    }
    assert!(parse("halflife = 1").is_err());
    assert_eq!(Recommend::default().findings(), Vec::<String>::new());
}

/// Would catch: a pipeline that would fail only once it has joined its group, signals of its own that nobody looks at.
#[test]
fn a_pipeline_that_cannot_recommend_is_found() {
    let pipeline = "[[pipeline]]\nname = \"r\"\ntopic = \"in\"\nevent = \"click\"\nfunction = \"recommend\"\n";
    let cases = [
        (pipeline.to_owned(), "declare [recommend]"),
        (format!("{pipeline}[recommend]\n").replace("\"in\"", "[\"in\", \"out\"]"), "function \"copy\" (pass_event, output_key)"),
        (format!("{pipeline}[recommend]\nat = \"event\"\n"), "event = \"json\" only"),
        (format!("{pipeline}[pipeline.recommend]\nentries = 0\n"), "\"r\": [recommend] entries"),
        (format!("{pipeline}[pipeline.recommend]\n").replace("\"recommend\"", "\"copy\""), "its function is another"),
        (format!("{pipeline}[recommend]\n"), ""),
    ];
    for (text, part) in cases {
        let config = crate::config::Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap();
        let found = config.findings().join("\n");
        assert!(found.contains(part) && found.is_empty() == part.is_empty(), "{part}: {found}");
    }
}
