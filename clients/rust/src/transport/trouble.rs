//! Why a connection could not be opened, or was lost, in words that people can act upon.

use std::{error::Error, fmt, sync::Arc};

use tokio::sync::watch;

use crate::rt;

/// A connection could not be opened.
#[derive(Debug)]
pub struct CannotConnect(Box<dyn Error + Send + Sync>);

impl CannotConnect {
    #[cfg(not(feature = "tls"))]
    pub(super) fn because(words: impl Into<String>) -> Self {
        Self(Box::new(Said(words.into())))
    }

    /// Whether the two do not trust each other, or a file for that cannot be used; else nobody was reached.
    pub fn is_distrust(&self) -> bool {
        let mut cause: &(dyn Error + 'static) = &*self.0;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        cause.is::<Said>()
    }

    /// Why, in one line.
    pub fn cause(&self) -> String {
        rt::innermost(&*self.0)
    }
}

impl fmt::Display for CannotConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause())
    }
}

impl Error for CannotConnect {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl From<tonic::transport::Error> for CannotConnect {
    fn from(error: tonic::transport::Error) -> Self {
        Self(Box::new(error))
    }
}

/// An error that is its words.
#[derive(Debug)]
pub(super) struct Said(pub(super) String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Said {}

/// What is known to be wrong with a connection. What lies between it and a call that fails tells only that it broke.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<watch::Sender<Option<Known>>>);

#[derive(Clone, Debug)]
struct Known {
    words: String,
    heard: bool,
}

impl Trouble {
    /// What it is, where something is known.
    pub fn words(&self) -> Option<String> {
        self.0.borrow().as_ref().map(|known| known.words.clone())
    }

    /// Whether the other end had never said anything: then it has done nothing either.
    pub fn is_unheard(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|known| !known.heard)
    }

    /// Of a connection that begins nothing is known.
    #[cfg(feature = "tls")]
    pub(super) fn forget(&self) {
        self.0.send_replace(None);
    }

    /// Keeps what is known first: what follows from it says less.
    #[cfg(feature = "tls")]
    pub(super) fn note(&self, words: &str, heard: bool) {
        self.0.send_if_modified(|known| {
            let is_news = known.is_none();
            if is_news {
                *known = Some(Known { words: words.to_owned(), heard });
            }
            is_news
        });
    }
}
