//! A record as a line of JSON: what `consume --json` prints and `produce --json` reads.
//!
//! ```text
//! {"topic":"t","partition":0,"offset":7,"timestamp_ms":1700000000000,"origin":{"producer":0,"epoch":0,"sequence":7},
//!  "message_id":"m","key":"k","value":"v","headers":[{"name":"n","value":"x"}]}
//! ```
//!
//! Bytes that are not UTF-8 stand in `message_id_base64`, `key_base64`, `value_base64` and a header's `value_base64`
//! instead. What is printed can be read: reading ignores `topic`, `offset` and `origin`, which the log assigns, and
//! `delivery_count`, which members of groups print.

use crate::base64;
use crate::printed::Printed;
use ringlane::{Header, Origin, Record, Visibility};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A header of a [`RecordLine`].
#[derive(Serialize)]
struct HeaderLine<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// A record as it is printed.
#[derive(Serialize)]
pub struct RecordLine<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    /// How often it was handed out to members of the group that reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_count: Option<u32>,
    timestamp_ms: i64,
    origin: Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// Null is a value, so it is always there unless `value_base64` is.
    #[serde(skip_serializing_if = "Absent::is_absent")]
    value: Absent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<HeaderLine<'a>>,
}

/// A value that is text, null, or elsewhere.
#[derive(Serialize)]
#[serde(untagged)]
enum Absent<'a> {
    Here(Option<&'a str>),
    Elsewhere,
}

impl Absent<'_> {
    fn is_absent(&self) -> bool {
        matches!(self, Absent::Elsewhere)
    }
}

/// Text if it is UTF-8, else base64.
fn split(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(base64::encode(bytes))),
    }
}

impl<'a> RecordLine<'a> {
    /// The line of a record.
    pub fn new(record: &Printed<'a>) -> RecordLine<'a> {
        let (key, key_base64) = record.key.map_or((None, None), split);
        let (value, value_base64) = record.value.map_or((None, None), split);
        let (message_id, message_id_base64) = record.message_id.map_or((None, None), split);
        let header = |header: &Header<'a>| {
            let (value, value_base64) = split(header.value);
            HeaderLine { name: header.name, value, value_base64 }
        };
        RecordLine {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            delivery_count: record.delivery_count,
            timestamp_ms: record.timestamp_ms,
            origin: record.origin,
            message_id,
            message_id_base64,
            key,
            key_base64,
            value: if value_base64.is_some() { Absent::Elsewhere } else { Absent::Here(value) },
            value_base64,
            headers: record.headers.iter().map(header).collect(),
        }
    }
}

/// A record as it is read.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct InputLine {
    message_id: Option<String>,
    message_id_base64: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    headers: InputHeaders,
    timestamp_ms: Option<i64>,
    partition: Option<u32>,
    delay_ms: Option<u64>,
    visible_at_ms: Option<i64>,
    #[serde(rename = "topic")]
    _topic: serde::de::IgnoredAny,
    #[serde(rename = "offset")]
    _offset: serde::de::IgnoredAny,
    #[serde(rename = "origin")]
    _origin: serde::de::IgnoredAny,
    #[serde(rename = "delivery_count")]
    _delivery_count: serde::de::IgnoredAny,
}

/// Either as printed, which keeps order and repeated names, or the short form `{"name":"value"}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum InputHeaders {
    List(Vec<InputHeader>),
    Map(BTreeMap<String, String>),
}

impl Default for InputHeaders {
    fn default() -> Self {
        InputHeaders::List(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputHeader {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

/// A record that owns its bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Ms since 1970-01-01 UTC.
    pub timestamp_ms: Option<i64>,
    /// Which partition.
    pub partition: Option<u32>,
    /// When it becomes visible.
    pub visibility: Visibility,
    /// What its sender knows it by.
    pub message_id: Option<Vec<u8>>,
}

impl OwnedRecord {
    /// Reads a line of JSON; the error says what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<OwnedRecord, String> {
        let input: InputLine = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let visibility = match (input.delay_ms, input.visible_at_ms) {
            (None, None) => Visibility::Now,
            (Some(delay_ms), None) => Visibility::After(Duration::from_millis(delay_ms)),
            (None, Some(time_ms)) => Visibility::At(time_ms),
            (Some(_), Some(_)) => return Err("both delay_ms and visible_at_ms are given; give one".to_owned()),
        };
        let headers = match input.headers {
            InputHeaders::Map(map) => map.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
            InputHeaders::List(list) => list
                .into_iter()
                .map(|header| {
                    let value = join("value", header.value, header.value_base64)?;
                    Ok((header.name, value.unwrap_or_default()))
                })
                .collect::<Result<_, String>>()?,
        };
        Ok(OwnedRecord {
            key: join("key", input.key, input.key_base64)?,
            value: join("value", input.value, input.value_base64)?,
            headers,
            timestamp_ms: input.timestamp_ms,
            partition: input.partition,
            visibility,
            message_id: join("message_id", input.message_id, input.message_id_base64)?,
        })
    }

    /// Lends the headers for [`OwnedRecord::record`].
    pub fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value }).collect()
    }

    /// The record to send.
    pub fn record<'a>(&'a self, headers: &'a [Header<'a>]) -> Record<'a> {
        Record {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
            tag: None,
            timestamp_ms: self.timestamp_ms,
            partition: self.partition,
            visibility: self.visibility,
            sequence: None,
            message_id: self.message_id.as_deref(),
        }
    }
}

fn join(name: &str, text: Option<String>, encoded: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (text, encoded) {
        (Some(_), Some(_)) => Err(format!("both {name} and {name}_base64 are given; give one")),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(encoded)) => match base64::decode(&encoded) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(format!("{name}_base64 is not base64")),
        },
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_are_read() {
        let line = br#"{"key":"k","value":"v","headers":[{"name":"a","value":"1"},{"name":"a","value_base64":"/w=="}],
            "timestamp_ms":5,"partition":3,"delay_ms":250,"topic":"ignored","offset":9,"message_id":"m",
            "origin":{"producer":0}}"#;
        let record = OwnedRecord::parse(line).unwrap();
        let expected = OwnedRecord {
            key: Some(b"k".to_vec()),
            value: Some(b"v".to_vec()),
            headers: vec![("a".into(), b"1".to_vec()), ("a".into(), vec![0xff])],
            timestamp_ms: Some(5),
            partition: Some(3),
            visibility: Visibility::After(Duration::from_millis(250)),
            message_id: Some(b"m".to_vec()),
        };
        assert_eq!(record, expected);
    }

    #[test]
    fn headers_have_a_short_form_and_nothing_is_required() {
        let record = OwnedRecord::parse(br#"{"headers":{"b":"2","a":"1"},"visible_at_ms":7}"#).unwrap();
        assert_eq!(record.headers, [("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())]);
        assert_eq!((record.value, record.visibility), (None, Visibility::At(7)));
        assert_eq!(OwnedRecord::parse(b"{}").unwrap(), OwnedRecord::default());
    }

    #[test]
    fn null_and_empty_values_differ() {
        assert_eq!(OwnedRecord::parse(br#"{"value":null}"#).unwrap().value, None);
        assert_eq!(OwnedRecord::parse(br#"{"value":""}"#).unwrap().value, Some(vec![]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (line, reason) in [
            (&b"not json"[..], "expected"),
            (br#"{"valu":"typo"}"#, "valu"),
            (br#"{"value":{"nested":1}}"#, "string"),
            (br#"{"value":"x","value_base64":"eA=="}"#, "both"),
            (br#"{"value_base64":"*"}"#, "base64"),
            (br#"{"delay_ms":1,"visible_at_ms":2}"#, "both"),
            (br#"{"delay_ms":-1}"#, "-1"),
            (br#"{"partition":4294967296}"#, "4294967296"),
        ] {
            let message = OwnedRecord::parse(line).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn a_printed_line_has_text_or_base64_but_always_a_value() {
        let line = |value| RecordLine {
            topic: "t",
            partition: 0,
            offset: 1,
            delivery_count: None,
            timestamp_ms: 2,
            origin: Origin { producer: 3, epoch: 4, sequence: 5 },
            message_id: None,
            message_id_base64: None,
            key: None,
            key_base64: None,
            value,
            value_base64: None,
            headers: vec![],
        };
        let text = serde_json::to_string(&line(Absent::Here(None))).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"topic":"t","partition":0,"offset":1,"timestamp_ms":2,"origin":"#,
                r#"{"producer":3,"epoch":4,"sequence":5},"value":null,"headers":[]}"#
            )
        );
        assert!(!serde_json::to_string(&line(Absent::Elsewhere)).unwrap().contains("value"));
        assert_eq!(split(b"\xff"), (None, Some("/w==".to_owned())));
    }
}
