//! Outcomes as kinds: what is the same but for numbers and names is one kind.

/// `outcome` without its digits and quoted parts.
pub fn kind(outcome: &str) -> String {
    let mut kind = String::new();
    let mut quoted = None;
    for c in outcome.chars().take(400) {
        match quoted {
            Some(end) if c == end => quoted = None,
            Some(_) => {}
            None if c == '`' || c == '"' => {
                quoted = Some(c);
                kind.push('\'');
            }
            None if c.is_ascii_digit() => {
                if !kind.ends_with('#') {
                    kind.push('#');
                }
            }
            None => kind.push(c),
        }
    }
    kind
}
