//! Until when certificates and revocation lists count, and from when on somebody should be told.

use std::time::{Duration, SystemTime};

use x509_parser::time::ASN1Time;

/// What expires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The certificate of the server, or of an intermediate authority that is sent with it.
    Server,
    /// An authority of client certificates.
    ClientCa,
    /// A revocation list, by when its successor is due.
    CrlNextUpdate,
}

impl Kind {
    /// The word for it in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::ClientCa => "client_ca",
            Kind::CrlNextUpdate => "crl_next_update",
        }
    }

    /// What it is, for people.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Server => "the server's certificate",
            Kind::ClientCa => "an authority of client certificates",
            Kind::CrlNextUpdate => "a revocation list",
        }
    }
}

/// From when until when one of them counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expiry {
    /// What.
    pub kind: Kind,
    /// From when on.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

/// Less time than this left is little.
const LITTLE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// For what lives shortly a fifth of its life is little.
const SHORT: u32 = 5;

/// How much longer something counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Left {
    /// Long enough.
    Enough,
    /// So little that its successor should be there.
    Little,
    /// It does not count yet.
    NotYet,
    /// It has expired.
    None,
}

impl Expiry {
    /// How much longer it counts: little is less than 14 days, and less than a fifth of its whole life.
    pub fn left(&self, now: SystemTime) -> Left {
        if now < self.not_before {
            return Left::NotYet;
        }
        let Ok(left) = self.not_after.duration_since(now) else { return Left::None };
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        if left < LITTLE.min(life / SHORT) { Left::Little } else { Left::Enough }
    }
}

/// The first to expire of each kind.
pub(super) fn first_of_each(all: &[Expiry]) -> Vec<Expiry> {
    let first = |kind| all.iter().filter(|one| one.kind == kind).min_by_key(|one| one.not_after).copied();
    [Kind::Server, Kind::ClientCa, Kind::CrlNextUpdate].into_iter().filter_map(first).collect()
}

/// A time as certificates carry it. What was before 1970 is at its beginning: it is over either way.
pub(super) fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// A time for people: `2026-11-30T09:00:00Z`.
pub(crate) fn shown(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.0}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn what_is_little_as_a_table() {
        let begin = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        for (life, age, left) in [
            (90 * DAY, Duration::ZERO, Left::Enough),
            (90 * DAY, 76 * DAY, Left::Enough),
            (90 * DAY, 76 * DAY + HOUR, Left::Little),
            (90 * DAY, 90 * DAY, Left::Little),
            (90 * DAY, 90 * DAY + HOUR, Left::None),
            // What lives for a day is renewed within the day.
            (DAY, 19 * HOUR, Left::Enough),
            (DAY, 20 * HOUR, Left::Little),
            (3650 * DAY, 3635 * DAY, Left::Enough),
            (3650 * DAY, 3637 * DAY, Left::Little),
        ] {
            let one = Expiry { kind: Kind::Server, not_before: begin, not_after: begin + life };
            assert_eq!(one.left(begin + age), left, "{life:?} {age:?}");
            assert_eq!(one.left(begin - HOUR), Left::NotYet);
        }
    }

    #[test]
    fn the_first_of_each_kind_is_shown() {
        let at = |kind, days| {
            let not_before = SystemTime::UNIX_EPOCH;
            Expiry { kind, not_before, not_after: not_before + days * DAY }
        };
        let all = [at(Kind::ClientCa, 3), at(Kind::ClientCa, 2), at(Kind::Server, 9)];
        assert_eq!(first_of_each(&all), [at(Kind::Server, 9), at(Kind::ClientCa, 2)]);
    }
}
