//! Readers and writers of values that say who may call, and what is told of it.

use http::Uri;

use super::{
    settings::{ClientAuth, OpenPages},
    value::Read,
};

/// Most origins of a list.
const MAX_ORIGINS: usize = 32;

/// Whether a client must show a certificate.
pub(super) fn client_auth(text: &str) -> Read<ClientAuth> {
    match text {
        "optional" => Ok(ClientAuth::Optional),
        "required" => Ok(ClientAuth::Required),
        _ => Err("must be optional or required".to_owned()),
    }
}

/// As [`client_auth`] reads it.
pub(super) fn show_client_auth(value: ClientAuth) -> &'static str {
    match value {
        ClientAuth::Optional => "optional",
        ClientAuth::Required => "required",
    }
}

/// The trust domain of SPIFFE ids, empty for none (SPIFFE-ID 2.1).
pub(super) fn trust_domain(text: &str) -> Read<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if text.len() <= 255 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("is not a trust domain; write lower-case letters, digits, `.`, `-` and `_`, like prod.example.org"
        .to_owned())
}

/// Pages in a row, with commas between them.
pub(super) fn open_pages(text: &str) -> Read<OpenPages> {
    let mut open = OpenPages::default();
    for page in text.split(',').map(str::trim).filter(|page| !page.is_empty()) {
        let place = match page {
            "metrics" => &mut open.metrics,
            "status" => &mut open.status,
            "discovery" => &mut open.discovery,
            _ => return Err(format!("has {page:?}; there are metrics, status and discovery")),
        };
        *place = true;
    }
    Ok(open)
}

/// As [`open_pages`] reads them.
pub(super) fn show_open_pages(open: OpenPages) -> String {
    let OpenPages { metrics, status, discovery } = open;
    let named = [(metrics, "metrics"), (status, "status"), (discovery, "discovery")];
    named.into_iter().filter(|(open, _)| *open).map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

/// Origins in a row, with commas between them.
pub(super) fn origins(text: &str) -> Read<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for origin in text.split(',').map(str::trim).filter(|origin| !origin.is_empty()) {
        let whole = origin.parse::<Uri>().ok().filter(|uri| {
            let scheme = uri.scheme_str().is_some_and(|scheme| scheme == "https" || scheme == "http");
            let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
            scheme && bare && !origin.ends_with('/') && uri.host().is_some()
        });
        if whole.is_none() {
            return Err(format!(
                "has {origin:?}, which is not an origin; write https://HOST or https://HOST:PORT"
            ));
        }
        if found.iter().any(|other| other == origin) {
            return Err(format!("has {origin} twice"));
        }
        found.push(origin.to_owned());
    }
    if found.len() > MAX_ORIGINS {
        return Err(format!("has {} origins; {MAX_ORIGINS} are the most", found.len()));
    }
    Ok(found)
}

/// A share between 0 and 1, in thousandths.
pub(super) fn share(text: &str) -> Read<u32> {
    let wrong = || "must be a number between 0 and 1 with up to three decimals, like 0.01".to_owned();
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !digits(decimals) || text.ends_with('.') {
        return Err(wrong());
    }
    let thousandths: u32 = format!("{whole}{decimals:0<3}").parse().map_err(|_| wrong())?;
    if thousandths <= 1000 { Ok(thousandths) } else { Err(wrong()) }
}

/// As [`share`] reads it.
pub(super) fn show_share(thousandths: u32) -> String {
    let decimals = format!("{:03}", thousandths % 1000);
    let decimals = decimals.trim_end_matches('0');
    let whole = thousandths / 1000;
    if decimals.is_empty() { whole.to_string() } else { format!("{whole}.{decimals}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_as_a_table() {
        for (text, thousandths) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("0.01", Some(10)),
            ("0.125", Some(125)),
            ("1.001", None),
            ("2", None),
            ("0.", None),
            (".5", None),
            ("-0.1", None),
            ("0.0001", None),
            ("", None),
        ] {
            assert_eq!(share(text).ok(), thousandths, "{text:?}");
        }
        for thousandths in [0, 1, 10, 125, 500, 1000] {
            assert_eq!(share(&show_share(thousandths)), Ok(thousandths));
        }
    }

    #[test]
    fn pages_and_origins_as_a_table() {
        for (text, shown) in [
            ("", Some("")),
            ("metrics", Some("metrics")),
            ("discovery,metrics", Some("metrics, discovery")),
            ("health", None),
        ] {
            assert_eq!(open_pages(text).ok().map(show_open_pages).as_deref(), shown, "{text:?}");
        }
        for (text, count) in [
            ("", Some(0)),
            ("https://a.example, http://b.example:8080", Some(2)),
            ("https://a.example, https://a.example", None),
            ("https://a.example/", None),
            ("https://a.example/path", None),
            ("a.example", None),
            ("*", None),
        ] {
            assert_eq!(origins(text).ok().map(|found| found.len()), count, "{text:?}");
        }
    }

    #[test]
    fn trust_domains_as_a_table() {
        for (text, good) in [("", true), ("prod.example.org", true), ("Prod", false), ("a/b", false)] {
            assert_eq!(trust_domain(text).is_ok(), good, "{text:?}");
        }
    }
}
