//! Finds what somebody probably meant to write.

/// The known name nearest to an unknown one, unless all are far away.
///
/// A right last part in a wrong section (`lease_ttl` for `fleet.lease_ttl`) counts as near.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let last = unknown.rsplit('.').next().unwrap_or(unknown);
    let mut misplaced = known.clone().filter(|name| name.rsplit('.').next() == Some(last));
    if let (Some(only), None) = (misplaced.next(), misplaced.next()) {
        return Some(only);
    }
    let near = unknown.len() / 4 + 1;
    known
        .map(|name| (strsim::osa_distance(unknown, name), name))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `; did you mean NAME?`, or nothing.
pub fn suggestion<'a>(unknown: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    nearest(unknown, known).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::{super::KEYS, *};

    #[test]
    fn near_misses_are_recognised() {
        let keys = || KEYS.iter().map(|key| key.name);
        for (unknown, meant) in [
            ("fleet.lease_tll", Some("fleet.lease_ttl")),
            ("lease_ttl", Some("fleet.lease_ttl")),
            ("flet.lease_ttl", Some("fleet.lease_ttl")),
            ("grpc.max_conections", Some("grpc.max_connections")),
            ("log.level", Some("log_level")),
            ("grcp.listen", Some("grpc.listen")),
            ("colour", None),
            ("database.url", None),
        ] {
            assert_eq!(nearest(unknown, keys()), meant, "{unknown}");
        }
    }
}
