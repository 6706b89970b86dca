//! Messages as JSON: proto3 JSON with the names of the contract (`snake_case`), every field present,
//! enums by their full names, times as RFC 3339, 64-bit numbers as numbers.
//!
//! It follows the descriptors that the server itself is built from, so that it cannot lag behind the
//! contract. They are decoded only when JSON is asked for.

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde::{Deserializer, Serialize, Serializer};

use crate::cli::failure::Failure;

/// The contract, as `build.rs` compiled it.
use crate::api::proto::DESCRIPTORS;

/// Knows every message of the contract.
pub(crate) struct Contract(DescriptorPool);

impl Contract {
    /// Decodes the descriptors.
    pub(crate) fn load() -> Result<Self, Failure> {
        let pool = DescriptorPool::decode(DESCRIPTORS);
        pool.map(Self).map_err(|cause| Failure::Internal(format!("cannot decode the descriptors: {cause}")))
    }

    /// A message as JSON. `name` is its name in `seaworthy.v1`.
    pub(crate) fn document(&self, name: &str, message: &impl Message) -> Result<Document, Failure> {
        let dynamic = DynamicMessage::decode(self.message(name)?, message.encode_to_vec().as_slice());
        dynamic
            .map(Document)
            .map_err(|cause| Failure::Internal(format!("cannot show a message of type {name}: {cause}")))
    }

    /// Several messages of one type as JSON.
    pub(crate) fn documents(&self, name: &str, messages: &[impl Message]) -> Result<Vec<Document>, Failure> {
        messages.iter().map(|message| self.document(name, message)).collect()
    }

    /// Reads a message in proto3 JSON's shape from any format. Unknown fields are refused by name.
    ///
    /// # Errors
    /// What the format's parser says of it.
    pub(crate) fn parse<'de, M, D>(&self, name: &str, input: D) -> Result<M, String>
    where
        M: Message + Default,
        D: Deserializer<'de>,
    {
        let descriptor = self.message(name).map_err(|failure| failure.to_string())?;
        DynamicMessage::deserialize_with_options(descriptor, input, &DeserializeOptions::new())
            .map_err(|cause| cause.to_string())?
            .transcode_to()
            .map_err(|cause| cause.to_string())
    }

    fn message(&self, name: &str) -> Result<MessageDescriptor, Failure> {
        self.0
            .get_message_by_name(&format!("seaworthy.v1.{name}"))
            .ok_or_else(|| Failure::Internal(format!("the contract has no message {name}")))
    }
}

/// A message that serialises as JSON.
pub(crate) struct Document(DynamicMessage);

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(false)
            .stringify_64_bit_integers(false);
        self.0.serialize_with_options(serializer, &options)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};
    use seaworthy_client::proto::seaworthy::v1::{Instance, Lifecycle, Registration, ServiceSpec};
    use serde_json::json;

    use super::*;

    #[test]
    fn json_has_the_names_of_the_contract() {
        let instance = Instance {
            registration: Some(Registration {
                service: "orders".into(),
                instance_id: "i-1".into(),
                lease_ttl: Some(Duration { seconds: 15, nanos: 0 }),
                ..Registration::default()
            }),
            incarnation: 3,
            lifecycle: Lifecycle::LameDuck.into(),
            register_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..Instance::default()
        };
        let document = Contract::load().unwrap().document("Instance", &instance).unwrap();
        let json = serde_json::to_value(&document).unwrap();
        assert_eq!(json["registration"]["instance_id"], "i-1");
        assert_eq!(json["registration"]["lease_ttl"], "15s");
        assert_eq!(json["incarnation"], json!(3));
        assert_eq!(json["lifecycle"], "LIFECYCLE_LAME_DUCK");
        assert_eq!(json["health"], "HEALTH_STATE_UNSPECIFIED");
        assert_eq!(json["register_time"], "2023-11-14T22:13:20Z");
        assert_eq!(json["components"], json!([]));
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let contract = Contract::load().unwrap();
        let mut input = serde_json::Deserializer::from_str(r#"{"protectd": true}"#);
        let refused = contract.parse::<ServiceSpec, _>("ServiceSpec", &mut input).unwrap_err();
        assert!(refused.contains("protectd"), "{refused}");
    }
}
