//! The pools of a process, by name.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use parking_lot::Mutex;

use super::{Pool, PoolSettings, PoolUsage};

/// Bytes in a pool's name.
const LONGEST_NAME: usize = 63;

/// Pools by name, at most so many. Cheap to clone; clones have the same pools.
#[derive(Clone, Debug)]
pub struct Pools {
    max_pools: NonZeroUsize,
    by_name: Arc<Mutex<BTreeMap<String, Pool>>>,
}

/// Why there is no such pool.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PoolError {
    /// The name cannot be one.
    #[error(
        "pool name {name:?}: use a DNS label, 1 to 63 lower-case letters, digits and hyphens, beginning and ending \
         with a letter or digit"
    )]
    Name {
        /// What was given, cut after 63 characters.
        name: String,
    },
    /// There are as many as there may be.
    #[error("pool {name}: there are {max_pools} pools already, as many as there may be; remove one")]
    TooMany {
        /// The one that was to be made.
        name: String,
        /// How many there may be.
        max_pools: NonZeroUsize,
    },
}

impl Pools {
    /// No pools yet, and at most so many.
    pub fn new(max_pools: NonZeroUsize) -> Self {
        Self { max_pools, by_name: Arc::default() }
    }

    /// Makes a pool; the one that has this name already takes these settings, while it is used.
    ///
    /// # Errors
    ///
    /// [`PoolError`] where the name cannot be one, or there are as many pools as there may be.
    pub fn put(&self, name: &str, settings: PoolSettings) -> Result<Pool, PoolError> {
        if !is_name(name) {
            return Err(PoolError::Name { name: name.chars().take(LONGEST_NAME).collect() });
        }
        let mut by_name = self.by_name.lock();
        if let Some(pool) = by_name.get(name) {
            pool.set(settings);
            return Ok(pool.clone());
        }
        if by_name.len() >= self.max_pools.get() {
            return Err(PoolError::TooMany { name: name.to_owned(), max_pools: self.max_pools });
        }
        let pool = Pool::new(name.to_owned(), settings);
        by_name.insert(name.to_owned(), pool.clone());
        Ok(pool)
    }

    /// The pool of this name.
    pub fn get(&self, name: &str) -> Option<Pool> {
        self.by_name.lock().get(name).cloned()
    }

    /// Forgets the pool of this name. Who has it can go on using it; a new one of the name starts empty.
    pub fn remove(&self, name: &str) -> Option<Pool> {
        self.by_name.lock().remove(name)
    }

    /// How all of them are used now, by name.
    pub fn usage(&self) -> Vec<PoolUsage> {
        let pools: Vec<_> = self.by_name.lock().values().cloned().collect();
        pools.iter().map(Pool::usage).collect()
    }
}

fn is_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn settings(max: u32) -> PoolSettings {
        PoolSettings::new(NonZeroU32::new(max).expect("more than zero"))
    }

    fn pools(max_pools: usize) -> Pools {
        Pools::new(NonZeroUsize::new(max_pools).expect("more than zero"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_one_pool() {
        let pools = pools(2);
        let made = pools.put("orders-db", settings(1)).expect("room for it");
        let held = made.acquire().await.expect("one is free");
        let found = pools.get("orders-db").expect("it is there");
        assert_eq!((found.name(), found.usage().permits.in_use), ("orders-db", 1));
        let changed = pools.put("orders-db", settings(3)).expect("it is there");
        assert_eq!((changed.usage().permits.in_use, made.usage().permits.max), (1, 3));
        assert!(pools.get("other").is_none());
        drop(held);
    }

    #[test]
    fn there_are_at_most_so_many() {
        let pools = pools(2);
        for name in ["b", "a", "b"] {
            pools.put(name, settings(1)).expect("room for it");
        }
        let refused = pools.put("c", settings(1)).expect_err("no room");
        assert_eq!(
            refused.to_string(),
            "pool c: there are 2 pools already, as many as there may be; remove one"
        );
        let names: Vec<_> = pools.usage().into_iter().map(|usage| usage.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(pools.remove("a").is_some() && pools.remove("a").is_none());
        assert!(pools.put("c", settings(1)).is_ok());
    }

    #[test]
    fn names_as_a_table() {
        let pools = pools(100);
        for (name, right) in [
            ("a", true),
            ("orders-db-2", true),
            (&*"x".repeat(63), true),
            ("", false),
            ("-a", false),
            ("a-", false),
            (&*"x".repeat(64), false),
            ("Orders", false),
            ("orders db", false),
            ("örders", false),
        ] {
            assert_eq!(pools.put(name, settings(1)).is_ok(), right, "{name}");
        }
        let Err(PoolError::Name { name }) = pools.put(&"ü".repeat(1_000), settings(1)) else {
            panic!("expected a refusal")
        };
        assert_eq!(name.chars().count(), 63);
    }
}
