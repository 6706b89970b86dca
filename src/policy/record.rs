//! How what is ruled stands in the store: one record for each policy, flag and override.

use std::{
    num::NonZeroUsize,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use seaworthy_client::{
    flags::{Draft, DraftRule, DraftVariant, Flag, Value},
    protect::policy::Policy,
};
use serde::{Deserialize, Serialize};

use super::{
    book::{Book, Force, Override, OverrideKey, PlacedFlag, Put},
    forms::PolicyForm,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::names::{InstanceId, ServiceName},
    store::{Entry, Store, record},
};

const POLICIES: &str = "policies/";
const FLAGS: &str = "flags/";
const OVERRIDES: &str = "breaker-overrides/";
/// Newest version of the records that this build writes and reads.
const VERSION: u32 = 1;
/// Records that are read at once.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);

#[derive(Deserialize, Serialize)]
struct PolicyRecord {
    policy: PolicyForm,
    put_ms: u64,
    by: String,
}

#[derive(Deserialize, Serialize)]
struct FlagRecord {
    variants: Vec<VariantForm>,
    default_variant: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleForm>,
    #[serde(default)]
    disabled: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    put_ms: u64,
    by: String,
}

#[derive(Deserialize, Serialize)]
struct VariantForm {
    name: String,
    value: ValueForm,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum ValueForm {
    Bool(bool),
    Text(String),
    Int(i64),
    Double(f64),
}

#[derive(Deserialize, Serialize)]
struct RuleForm {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    services: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    instances: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percentage: Option<f64>,
    variant: String,
}

#[derive(Deserialize, Serialize)]
struct OverrideRecord {
    service: String,
    operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    force: ForceForm,
    expires_ms: u64,
    by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum ForceForm {
    Open,
    Closed,
}

/// Where a policy is stored.
pub(super) fn policy_key(name: &str) -> String {
    format!("{POLICIES}{name}")
}

/// Where a flag is stored.
pub(super) fn flag_key(name: &str) -> String {
    format!("{FLAGS}{name}")
}

/// Where an override is stored. An operation may have any visible character, a slash too: it stands last.
pub(super) fn override_key(key: &OverrideKey) -> String {
    let OverrideKey { service, operation, instance } = key;
    let instance = instance.as_ref().map_or("*", InstanceId::as_str);
    format!("{OVERRIDES}{service}/{instance}/{operation}")
}

/// Writes a policy's record.
pub(super) fn policy(policy: &Policy, at: SystemTime, by: &str) -> Result<(String, Bytes)> {
    let written = PolicyRecord { policy: PolicyForm::from(policy), put_ms: to_millis(at), by: by.to_owned() };
    Ok((policy_key(&policy.name), record::encode(VERSION, &written)?))
}

/// Writes a flag's record.
pub(super) fn flag(flag: &Flag, at: SystemTime, by: &str) -> Result<(String, Bytes)> {
    let variant = |name: &str, value: &Value| VariantForm {
        name: name.to_owned(),
        value: match value.clone() {
            Value::Bool(value) => ValueForm::Bool(value),
            Value::Text(value) => ValueForm::Text(value),
            Value::Int(value) => ValueForm::Int(value),
            Value::Double(value) => ValueForm::Double(value),
        },
    };
    let written = FlagRecord {
        variants: flag.variants().map(|it| variant(it.name(), it.value())).collect(),
        default_variant: flag.default_variant().name().to_owned(),
        rules: flag
            .rules()
            .iter()
            .map(|rule| RuleForm {
                services: rule.services().to_vec(),
                instances: rule.instances().to_vec(),
                percentage: rule.share().map(|share| share.percentage()),
                variant: rule.variant().name().to_owned(),
            })
            .collect(),
        disabled: flag.is_disabled(),
        description: flag.description().to_owned(),
        put_ms: to_millis(at),
        by: by.to_owned(),
    };
    Ok((flag_key(flag.name()), record::encode(VERSION, &written)?))
}

/// Writes an override's record.
pub(super) fn forced(forced: &Override) -> Result<(String, Bytes)> {
    let Override { key, force, expires, by, message } = forced;
    let force = match force {
        Force::Open => ForceForm::Open,
        Force::Closed => ForceForm::Closed,
    };
    let written = OverrideRecord {
        service: key.service.to_string(),
        operation: key.operation.clone(),
        instance_id: key.instance.as_ref().map(ToString::to_string),
        force,
        expires_ms: to_millis(*expires),
        by: by.clone(),
        message: message.clone(),
    };
    Ok((override_key(key), record::encode(VERSION, &written)?))
}

/// Reads all records into a book.
///
/// # Errors
/// The store cannot be read, or a record is damaged or from a newer build.
pub(super) async fn load(store: &Store, book: &mut Book) -> Result<()> {
    each(store, POLICIES, |entry| {
        let PolicyRecord { policy, put_ms, by } = record::decode(&entry.key, VERSION, &entry.value)?;
        let policy = policy.policy().map_err(|wrong| damaged(&entry.key, &wrong))?;
        book.put(policy, Put { revision: entry.revision, at: from_millis(put_ms), by });
        Ok(())
    })
    .await?;
    each(store, FLAGS, |entry| {
        let stored: FlagRecord = record::decode(&entry.key, VERSION, &entry.value)?;
        let put = Put { revision: entry.revision, at: from_millis(stored.put_ms), by: stored.by.clone() };
        let name = entry.key.strip_prefix(FLAGS).unwrap_or_default();
        let flag = Flag::new(draft(name, stored)).map_err(|wrong| damaged(&entry.key, &wrong.to_string()))?;
        book.put_flag(PlacedFlag { flag, put: Some(put) });
        Ok(())
    })
    .await?;
    each(store, OVERRIDES, |entry| {
        let stored: OverrideRecord = record::decode(&entry.key, VERSION, &entry.value)?;
        book.force(overriding(stored).map_err(|wrong| damaged(&entry.key, &wrong))?);
        Ok(())
    })
    .await
}

async fn each(store: &Store, prefix: &str, mut read: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        let page = store.list(prefix, after.as_deref(), PAGE).await?;
        page.entries.iter().try_for_each(&mut read)?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn draft(name: &str, stored: FlagRecord) -> Draft {
    let value = |form| match form {
        ValueForm::Bool(value) => Value::Bool(value),
        ValueForm::Text(value) => Value::Text(value),
        ValueForm::Int(value) => Value::Int(value),
        ValueForm::Double(value) => Value::Double(value),
    };
    let variant = |it: VariantForm| DraftVariant { name: it.name, value: Some(value(it.value)) };
    let rule = |it: RuleForm| {
        let RuleForm { services, instances, percentage, variant } = it;
        DraftRule { services, instances, percentage, variant }
    };
    Draft {
        name: name.to_owned(),
        variants: stored.variants.into_iter().map(variant).collect(),
        default_variant: stored.default_variant,
        rules: stored.rules.into_iter().map(rule).collect(),
        disabled: stored.disabled,
        description: stored.description,
    }
}

fn overriding(stored: OverrideRecord) -> Result<Override, String> {
    let OverrideRecord { service, operation, instance_id, force, expires_ms, by, message } = stored;
    let service = ServiceName::parse(&service).map_err(|wrong| wrong.to_string())?;
    let instance = instance_id.map(|id| InstanceId::parse(&id).map_err(|wrong| wrong.to_string()));
    let key = OverrideKey { service, operation, instance: instance.transpose()? };
    let force = match force {
        ForceForm::Open => Force::Open,
        ForceForm::Closed => Force::Closed,
    };
    Ok(Override { key, force, expires: from_millis(expires_ms), by, message })
}

fn damaged(key: &str, wrong: &str) -> Error {
    let message = format!("the record at key {key:?} is damaged; restore it from a backup or delete it");
    let error = Error::new(Kind::Internal, Reason::RecordDamaged, message).with("key", key);
    error.because(wrong.to_owned())
}

fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn from_millis(stored: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(stored)
}
