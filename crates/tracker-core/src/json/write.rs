//! Records as JSON. A list has thousands of members, of which hardly one has a character to escape: to look at each
//! character of each name and value, as a serializer does, is a tenth of all that a list takes.

use serde::Serialize;
use uuid::Uuid;

use crate::fields::{DeploymentResult, Text};
use crate::time::{Timestamp, rfc3339};

/// What can be written as JSON, the same that its `Serialize` writes.
pub trait WriteJson {
    /// Appends it to `out`.
    fn write_json(&self, out: &mut Vec<u8>);
}

impl<T: WriteJson> WriteJson for [T] {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (place, item) in self.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            item.write_json(out);
        }
        out.push(b']');
    }
}

/// Writes `text` as a JSON string. Most has nothing to escape: to see that first costs much less than to look at each
/// character for itself.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().fold(false, |is_special, byte| is_special | (byte < 0x20) | (byte == b'"') | (byte == b'\\')) {
        return write(out, text);
    }
    write_plain(out, text);
}

/// Writes anything that has no other way.
///
/// # Panics
/// When `value` is none of what JSON can be: a map with keys that are no texts.
pub fn write<V: Serialize + ?Sized>(out: &mut Vec<u8>, value: &V) {
    serde_json::to_writer(out, value).expect("texts, numbers and JSON go into memory without fail");
}

/// Writes `text`, in which there is nothing to escape.
fn write_plain(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// An object that is being written, member by member.
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> ObjectWriter<'a> {
    /// Begins an object at the end of `out`. Every object needs a member.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// The place for the value of a member whose name has nothing to escape.
    pub fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.reserve(name.len() + 4);
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// The place for the value of a member of any name.
    pub fn escaped_member(&mut self, name: &str) -> &mut Vec<u8> {
        self.out.push(b',');
        write_text(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// Members as they were written before, each behind a comma.
    pub fn raw_members(&mut self, members: &[u8]) {
        self.out.extend_from_slice(members);
    }

    /// A text.
    pub fn text(&mut self, name: &'static str, text: &str) {
        write_text(self.member(name), text);
    }

    /// A UUID, in small letters with hyphens.
    pub fn id(&mut self, name: &'static str, id: Uuid) {
        self.plain(name, id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }

    /// A time in RFC 3339.
    pub fn time(&mut self, name: &'static str, time: &Timestamp) {
        self.plain(name, &rfc3339(time));
    }

    /// Ends the object, and says where.
    pub fn end(self) -> usize {
        // Every member has brought a comma, the first one in the place of the brace.
        self.out[self.start] = b'{';
        self.out.push(b'}');
        self.out.len()
    }

    pub(crate) fn text_if_given(&mut self, name: &'static str, text: Option<&Text>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(crate) fn outcome(&mut self, result: Option<DeploymentResult>, elapsed_seconds: Option<i32>) {
        if let Some(result) = result {
            self.plain("result", result.as_str());
        }
        if let Some(seconds) = elapsed_seconds {
            write(self.member("elapsed_seconds"), &seconds);
        }
    }

    fn plain(&mut self, name: &'static str, text: &str) {
        write_plain(self.member(name), text);
    }
}

#[cfg(test)]
mod properties {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::{
        Deployment, DeploymentFields, DeploymentId, DeploymentWithServers, Hostname, Server, ServerFields, time,
    };

    fn text() -> impl Strategy<Value = Option<Text>> {
        option::of(prop_oneof![any::<String>(), "[ -~]{0,20}", "[\"\\\\\u{0}-\u{1f}\u{7f}a]{0,4}"].prop_map(Text::from))
    }

    proptest! {
        #[test]
        fn a_record_is_written_as_it_is_serialized(
            texts in vec(text(), 10..=10),
            hostnames in vec(text().prop_map(Option::unwrap_or_default), 0..3),
            result in option::of(select(vec![DeploymentResult::Success, DeploymentResult::Failure])),
            elapsed_seconds in option::of(any::<i32>()),
        ) {
            let [engine, engine_version, host, user, environment, package, package_url, version, arguments, ip_address] =
                texts.try_into().expect("ten");
            let (id, created_at, updated_at) = (DeploymentId(Uuid::now_v7()), time::now(), time::now());
            let fields = DeploymentFields {
                engine, engine_version, host, user, environment, package, package_url, version, arguments,
                result, elapsed_seconds,
            };
            let servers = hostnames.into_iter().map(|hostname| Server {
                hostname: Hostname::stored(hostname),
                deployment_id: id,
                fields: ServerFields { ip_address: ip_address.clone(), result, elapsed_seconds },
                created_at,
                updated_at,
            });
            let deployment = Deployment { id, fields, created_at, updated_at };
            let records = [DeploymentWithServers { deployment, servers: servers.collect() }];
            let mut raw_members = Vec::new();
            records.as_slice().write_json(&mut raw_members);
            prop_assert_eq!(String::from_utf8(raw_members), Ok(serde_json::to_string(&records).expect("JSON")));
        }
    }
}
