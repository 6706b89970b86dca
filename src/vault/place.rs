//! Where a vault lies: a prefix of an object store, by its URL. Objects are created once and never written again; what an
//! ambiguous answer means is found out here. What is in an object is not its business.

use std::{ffi::OsString, ops::Range, path::Path as FilePath, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    BackoffConfig, Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme,
    PutMode, PutOptions, PutPayload, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    client::{HttpError, HttpErrorKind},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    local::LocalFileSystem,
    memory::InMemory,
    path::Path,
    prefix::PrefixStore,
};

use super::problem::{Problem, Result};

/// How long one request to an object store may take, its body with it: a pack of 16 MiB at 200 KiB a second.
const REQUEST_TIMEOUT: &str = "90 seconds";

/// How long a connection to an object store may take to come to be.
const CONNECT_TIMEOUT: &str = "10 seconds";
/// How often a request is tried again, and for how long: then the operation fails, and says so.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(10),
        base: 2.0,
    },
    max_retries: 4,
    retry_timeout: Duration::from_secs(60),
};
/// Bytes that an object may have that is read whole: a pack, and no other has more.
pub(super) const MAX_OBJECT: u64 = 64 << 20;

/// An object as a listing shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listed {
    /// Its name within the vault.
    pub(super) name: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// When it was written, by the store's clock, in milliseconds since 1970.
    pub(super) modified: u64,
}

impl Listed {
    fn of(meta: &ObjectMeta) -> Self {
        let modified = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
        Self { name: meta.location.to_string(), size: meta.size, modified }
    }

    /// The last part of its name.
    pub(super) fn last(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// A bucket, or a part of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    url: Arc<str>,
    parallel: usize,
    /// Where it is one of this machine.
    folder: Option<Arc<FilePath>>,
}

impl Place {
    /// The place of a URL, or of the path of a folder. `options` are those of the object store's kind, by their usual names:
    ///
    /// | URL | options |
    /// |---|---|
    /// | `file:///var/lib/vault` | none |
    /// | `s3://bucket/prefix` | `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token`, `aws_region` (`us-east-1`), `aws_endpoint`, `aws_virtual_hosted_style_request` |
    /// | `az://container/prefix` | `azure_storage_account_name`, `azure_storage_account_key`, `azure_storage_sas_key`, `azure_storage_endpoint`, `azure_storage_use_emulator` |
    /// | `gs://bucket/prefix` | `google_service_account`, `google_service_account_key` |
    /// | all but folders | `allow_http` (only with it a plain endpoint is spoken to), `timeout` (`90 seconds`, for one request with its body), `connect_timeout` (`10 seconds`), `proxy_url` |
    /// | `memory:///` | none; for tests: gone with the process |
    ///
    /// and whatever else `object_store` knows for them. What is not among them counts as the environment has it, in variables of these
    /// names in capitals; those that name no option are left alone. Without credentials, those of the machine are asked for.
    ///
    /// # Errors
    /// It is no URL, of no kind that is known, or its options are wrong.
    pub fn open(url: &str, options: &[(String, String)]) -> Result<Self> {
        let bad = |what: String| Problem::BadPlace { place: url.to_owned(), what };
        let folder = url.strip_prefix("file://").unwrap_or(url);
        if !url.contains("://") || url.starts_with("file://") {
            return Self::folder(FilePath::new(folder));
        }
        let parsed = url::Url::parse(url).map_err(|error| bad(error.to_string()))?;
        if parsed.scheme() == "memory" {
            return Ok(Self::of(Arc::new(InMemory::new()), url, 2));
        }
        // Who speaks HTTPS takes its cryptography from the process; whoever came first has set the same one.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (store, path) = remote(&parsed, options, std::env::vars_os()).map_err(bad)?;
        Ok(Self::of(Arc::new(PrefixStore::new(store, path)), url, 4))
    }

    /// A folder of this machine, made where it is not there. What is written is on the disk before it is said to be.
    ///
    /// # Errors
    /// It cannot be made or used.
    pub fn folder(path: &FilePath) -> Result<Self> {
        let bad = |what: String| Problem::BadPlace { place: path.display().to_string(), what };
        std::fs::create_dir_all(path).map_err(|error| bad(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| bad(error.to_string()))?;
        let store = store.with_fsync(true);
        let place = Self::of(Arc::new(store), &format!("file://{}", path.display()), 2);
        Ok(Self { folder: Some(path.into()), ..place })
    }

    /// A store of the caller's: for tests that make it fail.
    pub fn of(store: Arc<dyn ObjectStore>, url: &str, parallel: usize) -> Self {
        Self { store, url: url.into(), parallel, folder: None }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder that it is. None: it is elsewhere.
    pub(super) fn as_folder(&self) -> Option<Arc<FilePath>> {
        self.folder.clone()
    }

    /// How many packs are worth being sent at a time.
    pub(super) fn parallel_puts(&self) -> usize {
        self.parallel
    }

    /// Creates an object. Where one of this name is there already, it must be the same: an answer that was lost may have been
    /// a success, and packs are named by what they are.
    ///
    /// # Errors
    /// The store refuses it, or another object has the name.
    pub(super) async fn create(&self, name: &str, payload: PutPayload) -> Result<()> {
        let path = path(name)?;
        let size = payload.content_length() as u64;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let mut put = self.store.put_opts(&path, payload.clone(), options.clone()).await;
        if let Err(error) = &put
            && may_have_been_done(error)
        {
            // Nobody below tries a creation again whose answer was lost; here it is known what a second answer means.
            put = self.store.put_opts(&path, payload.clone(), options).await;
        }
        match put {
            Ok(_) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => {
                let there = self.store.head(&path).await.map_err(|error| failed("look at", name, error))?;
                if there.size == size && self.is(name, &payload).await? {
                    return Ok(());
                }
                Err(Problem::Taken { object: name.to_owned() })
            }
            Err(error) => Err(failed("write", name, error)),
        }
    }

    async fn is(&self, name: &str, payload: &PutPayload) -> Result<bool> {
        let there = self.get(name).await?;
        let mut rest = &there[..];
        for part in payload {
            match rest.split_at_checked(part.len()) {
                Some((head, tail)) if head == &part[..] => rest = tail,
                _ => return Ok(false),
            }
        }
        Ok(rest.is_empty())
    }

    /// The whole of an object.
    pub(super) async fn get(&self, name: &str) -> Result<Bytes> {
        Ok(self.get_listed(name).await?.1)
    }

    /// The whole of an object, and what a listing would show of it.
    pub(super) async fn get_listed(&self, name: &str) -> Result<(Listed, Bytes)> {
        let got = self.store.get(&path(name)?).await.map_err(|error| failed("read", name, error))?;
        if got.meta.size > MAX_OBJECT {
            return Err(Problem::damaged(name, format!("has {} bytes, which is too many", got.meta.size)));
        }
        let listed = Listed::of(&got.meta);
        let bytes = got.bytes().await.map_err(|error| failed("read", name, error))?;
        Ok((listed, bytes))
    }

    /// A part of an object.
    pub(super) async fn range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let expected = range.end.saturating_sub(range.start);
        let got =
            self.store.get_range(&path(name)?, range).await.map_err(|error| failed("read", name, error))?;
        if got.len() as u64 != expected {
            return Err(Problem::damaged(name, format!("gave {} bytes of {expected}", got.len())));
        }
        Ok(got)
    }

    /// What a listing would show of an object. None: it is not there.
    pub(super) async fn head(&self, name: &str) -> Result<Option<Listed>> {
        match self.store.head(&path(name)?).await {
            Ok(meta) => Ok(Some(Listed::of(&meta))),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("look at", name, error)),
        }
    }

    /// All objects under a prefix, by name.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let path = path(prefix)?;
        let listing = self.store.list(Some(&path)).map_ok(|meta| Listed::of(&meta)).try_collect::<Vec<_>>();
        let mut found = listing.await.map_err(|error| failed("list", prefix, error))?;
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Deletes an object; that it is gone already is fine.
    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        match self.store.delete(&path(name)?).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", name, error)),
        }
    }
}

/// A store that is asked over the network, and the prefix in it. `environment` is where the tools of clouds keep credentials and
/// regions; nobody writes these into arguments or files, which others see.
fn remote(
    url: &url::Url,
    options: &[(String, String)],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Arc<dyn ObjectStore>, Path), String> {
    /// What is set where nobody says otherwise comes first, then what the environment has, then what was given.
    macro_rules! built {
        ($builder:ident, $key:ty, $variables:literal, $region:expr) => {{
            let mut builder = $builder::new().with_url(url.as_str()).with_retry(RETRY);
            for (name, value) in environment {
                let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
                // Many are about something else: a profile, a tool.
                if let Ok(key) = name.to_ascii_lowercase().parse::<$key>()
                    && name.starts_with($variables)
                    && !value.is_empty()
                {
                    builder = builder.with_config(key, value);
                }
            }
            let usual = [("timeout", REQUEST_TIMEOUT), ("connect_timeout", CONNECT_TIMEOUT)];
            let given = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            for (name, value) in usual.into_iter().chain(given).chain($region) {
                let key: $key = name
                    .to_ascii_lowercase()
                    .parse()
                    .map_err(|_| format!("{name:?} is no option of {}://", url.scheme()))?;
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build().map_err(|error| error.to_string())?)
        }};
    }
    let (scheme, path) = ObjectStoreScheme::parse(url).map_err(|error| error.to_string())?;
    let store: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => {
            // The last: it counts where nobody has named another one.
            built!(AmazonS3Builder, AmazonS3ConfigKey, "AWS_", [("aws_default_region", "us-east-1")])
        }
        ObjectStoreScheme::MicrosoftAzure => {
            built!(MicrosoftAzureBuilder, AzureConfigKey, "AZURE_", [])
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            built!(GoogleCloudStorageBuilder, GoogleConfigKey, "GOOGLE_", [])
        }
        _ => return Err(format!("{}:// is no kind of place that is known", url.scheme())),
    };
    Ok((store, path))
}

/// Whether a request may have been carried out although no answer came.
fn may_have_been_done(error: &StoreError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(lost) = cause.downcast_ref::<HttpError>() {
            return !matches!(lost.kind(), HttpErrorKind::Connect | HttpErrorKind::Request);
        }
        next = cause.source();
    }
    false
}

fn path(name: &str) -> Result<Path> {
    Path::parse(name).map_err(|error| Problem::Internal(format!("{name:?} is no name of an object: {error}")))
}

fn failed(action: &'static str, object: &str, source: StoreError) -> Problem {
    match source {
        StoreError::NotFound { .. } => Problem::missing(object),
        source => Problem::Place { action, object: object.to_owned(), source },
    }
}

/// How long a probe of the place may take before it is given up.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_write_of_the_same_is_fine_and_of_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for place in [Place::folder(dir.path()).unwrap(), Place::open("memory:///", &[]).unwrap()] {
            place.create("a/b", PutPayload::from_static(b"one")).await.unwrap();
            place.create("a/b", PutPayload::from_static(b"one")).await.unwrap();
            for other in [&b"two"[..], b"more"] {
                let taken = place.create("a/b", PutPayload::from_static(other)).await;
                assert!(matches!(taken, Err(Problem::Taken { .. })), "{taken:?}");
            }
            assert_eq!(place.get("a/b").await.unwrap(), "one");
            assert_eq!(place.range("a/b", 1..3).await.unwrap(), "ne");
            assert!(place.range("a/b", 1..4).await.is_err());
            let names: Vec<_> = place.list("a").await.unwrap().into_iter().map(|one| one.name).collect();
            assert_eq!(names, ["a/b"]);
            assert_eq!(place.head("a/b").await.unwrap().unwrap().size, 3);
            place.delete("a/b").await.unwrap();
            place.delete("a/b").await.unwrap();
            assert!(matches!(place.get("a/b").await, Err(Problem::Missing { .. })));
            assert_eq!(place.head("a/b").await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_is_larger_than_any_object_is_not_read_into_memory() {
        let store = Arc::new(InMemory::new());
        let place = Place::of(Arc::clone(&store) as _, "memory:///", 1);
        let name = Path::from("notes/x");
        store.put(&name, vec![0; usize::try_from(MAX_OBJECT).unwrap() + 1].into()).await.unwrap();
        assert!(matches!(place.get("notes/x").await, Err(Problem::Damaged { .. })));
    }

    #[test]
    fn a_place_that_is_none_says_so() {
        for bad in ["ftp://x/y", "s3://"] {
            let open = Place::open(bad, &[]);
            assert!(matches!(open, Err(Problem::BadPlace { .. })), "{bad}: {open:?}");
        }
        // A slip of the pen in an option is told, rather than left out.
        let options = [("aws_endpiont".to_owned(), "http://localhost".to_owned())];
        let open = Place::open("s3://bucket", &options);
        assert!(open.unwrap_err().to_string().contains("aws_endpiont"));
        assert!(Place::open("s3://bucket/prefix", &[]).is_ok());
    }

    /// What a store is opened with, as it shows itself. Credentials do not.
    fn opened(url: &str, options: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<String, String> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let options: Vec<_> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment =
            environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        remote(&url::Url::parse(url).unwrap(), &options, environment).map(|(store, _)| format!("{store:?}"))
    }

    #[test]
    fn what_the_environment_has_of_the_kind_of_place_counts_unless_options_say_otherwise() {
        let region = |options: &[_], environment: &[_]| {
            let opened = opened("s3://bucket", options, environment).unwrap();
            let (_, rest) = opened.split_once("region: \"").unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        // None of the others is an option, and none of them stands in the way.
        let environment = [
            ("AWS_PROFILE", "shop"),
            ("AWS_PAGER", ""),
            ("AWS_EXECUTION_ENV", "x"),
            ("AZURE_CONFIG_DIR", "/x"),
            ("GOOGLE_CLOUD_PROJECT", "shop"),
            ("AWS_REGION", "eu-west-1"),
        ];
        assert_eq!(region(&[], &[]), "us-east-1");
        assert_eq!(region(&[], &environment), "eu-west-1");
        assert_eq!(region(&[], &[("AWS_DEFAULT_REGION", "eu-west-2")]), "eu-west-2");
        assert_eq!(region(&[("aws_region", "eu-west-3")], &environment), "eu-west-3");
        let account = [("AZURE_STORAGE_ACCOUNT_NAME", "shop"), ("AWS_REGION", "x")];
        assert!(opened("az://container", &[], &account).unwrap().contains("shop"));
        assert!(opened("gs://bucket", &[], &environment).is_ok());
        // What was given is meant: a slip of the pen is told.
        assert!(opened("s3://bucket", &[("aws_profile", "shop")], &[]).unwrap_err().contains("aws_profile"));
    }
}
