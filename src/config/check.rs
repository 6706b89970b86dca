//! Rules between several values: what each says by itself is right, and together they cannot be.

use super::{
    listener::{BEYOND_LOOPBACK, beyond_loopback, clashes, listeners},
    quantity::show_duration,
    settings::Config,
};

/// A rule that does not hold.
#[derive(Debug)]
pub(super) struct Broken {
    /// The key at fault, then those that the rule compares it with.
    pub(super) keys: [&'static str; 2],
    /// What is wrong, and what would be right.
    pub(super) wrong: String,
}

/// Every rule that does not hold.
pub(super) fn broken_rules(config: &Config) -> Vec<Broken> {
    let mut broken = Vec::new();
    if !config.insecure {
        let open = listeners(config).filter(|(_, address)| beyond_loopback(*address));
        broken.extend(
            open.map(|(key, _)| Broken { keys: [key, "insecure"], wrong: BEYOND_LOOPBACK.to_owned() }),
        );
    }
    for (earlier, later) in clashes(config) {
        let origin = config.origin(earlier);
        let wrong = format!("is also the address of {earlier} ({origin}); give each listener its own");
        broken.push(Broken { keys: [later, earlier], wrong });
    }
    if config.shutdown.lame_duck >= config.shutdown.total {
        let (total, origin) = (show_duration(config.shutdown.total), config.origin("shutdown.total"));
        let wrong = format!("must be shorter than shutdown.total, which is {total} ({origin})");
        broken.push(Broken { keys: ["shutdown.lame_duck", "shutdown.total"], wrong });
    }
    broken
}
