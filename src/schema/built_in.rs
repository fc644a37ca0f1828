//! Files that are always there for schemas that import them, as serialisers have them too.

macro_rules! files {
    ($($name:literal)*) => {
        /// The names under which they are imported, and their text.
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("built_in/", $name)))),*];
    };
}

files! {
    "confluent/meta.proto"
    "confluent/type/decimal.proto"
    "google/type/calendar_period.proto"
    "google/type/color.proto"
    "google/type/date.proto"
    "google/type/datetime.proto"
    "google/type/dayofweek.proto"
    "google/type/decimal.proto"
    "google/type/expr.proto"
    "google/type/fraction.proto"
    "google/type/interval.proto"
    "google/type/latlng.proto"
    "google/type/localized_text.proto"
    "google/type/money.proto"
    "google/type/month.proto"
    "google/type/phone_number.proto"
    "google/type/postal_address.proto"
    "google/type/quaternion.proto"
    "google/type/timeofday.proto"
}

/// The text of a file.
pub fn text(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::FILES;
    use crate::schema::protobuf::Messages;

    /// Would catch: a file that no schema can import.
    #[test]
    fn each_can_be_imported() {
        assert!(FILES.len() > 15);
        for (name, _) in FILES {
            let compiled = Messages::compile(&format!("import \"{name}\";"), |_| None);
            assert!(compiled.is_ok(), "{name}: {compiled:?}");
        }
    }
}
