//! Rules that concern several values at once, checked when each by itself is right.

use super::{
    listener::{BEYOND_LOOPBACK, beyond_loopback, clashes, listeners},
    quantity::show_duration,
    settings::Config,
};

/// Every broken rule: the key at fault, and what is wrong.
pub(super) fn broken_rules(config: &Config) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    if !config.insecure {
        let open = listeners(config).filter(|(_, address)| beyond_loopback(*address));
        broken.extend(open.map(|(key, _)| (key, BEYOND_LOOPBACK.to_owned())));
    }
    for (earlier, later) in clashes(config) {
        broken.push((later, format!("is also the address of {earlier}; give each listener its own")));
    }
    if config.shutdown.lame_duck >= config.shutdown.total {
        let total = show_duration(config.shutdown.total);
        let origin = config.origin("shutdown.total");
        broken.push((
            "shutdown.lame_duck",
            format!("must be shorter than shutdown.total, which is {total} ({origin})"),
        ));
    }
    broken
}
