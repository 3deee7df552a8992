//! Values with names: what statistics are while they travel.
//!
//! The two processes may have different versions, so each field brings its name; one that the reader does not
//! know is shown all the same.
//!
//! Invariant: what is taken is what was put; nesting and sizes are bounded by the message.

use crate::log::codec::{Put, Reader};

/// How deep values may be nested.
const DEPTH_MAX: u32 = 8;

/// A value of the statistics of another process, in the form that its JSON has.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number that is not negative.
    Unsigned(u64),
    /// A number that may be negative.
    Signed(i64),
    /// Text.
    Text(String),
    /// Values one after the other.
    List(Vec<Value>),
    /// Values with names, in the order in which they are shown.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value with this name, if this is a map that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(fields) => fields.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The number, if it is one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn put(&self, target: &mut Vec<u8>) {
        match self {
            Value::Null => target.put_u8(0),
            Value::Bool(yes) => {
                target.put_u8(1);
                target.put_u8(u8::from(*yes));
            }
            Value::Unsigned(number) => {
                target.put_u8(2);
                target.put_u64(*number);
            }
            Value::Signed(number) => {
                target.put_u8(3);
                target.put_i64(*number);
            }
            Value::Text(text) => {
                target.put_u8(4);
                target.put_bytes(text.as_bytes());
            }
            Value::List(values) => {
                target.put_u8(5);
                target.put_u32(values.len() as u32);
                values.iter().for_each(|value| value.put(target));
            }
            Value::Map(fields) => {
                target.put_u8(6);
                target.put_u32(fields.len() as u32);
                for (name, value) in fields {
                    target.put_bytes(name.as_bytes());
                    value.put(target);
                }
            }
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Value> {
        Self::take_nested(reader, DEPTH_MAX)
    }

    fn take_nested(reader: &mut Reader<'_>, depth_left: u32) -> Option<Value> {
        let deeper = || depth_left.checked_sub(1);
        Some(match reader.u8()? {
            0 => Value::Null,
            1 => Value::Bool(match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            }),
            2 => Value::Unsigned(reader.u64()?),
            3 => Value::Signed(reader.i64()?),
            4 => Value::Text(text(reader)?),
            5 => {
                let depth = deeper()?;
                let count = reader.u32()?;
                Value::List((0..count).map(|_| Self::take_nested(reader, depth)).collect::<Option<_>>()?)
            }
            6 => {
                let depth = deeper()?;
                let count = reader.u32()?;
                let field = |_| Some((text(reader)?, Self::take_nested(reader, depth)?));
                Value::Map((0..count).map(field).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    std::str::from_utf8(reader.bytes()?).ok().map(str::to_owned)
}

macro_rules! from {
    ($($type:ty => $value:ident as $to:ty),* $(,)?) => {
        $( impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$value(value as $to)
            }
        } )*
    };
}

from! { bool => Bool as bool, u32 => Unsigned as u64, u64 => Unsigned as u64, usize => Unsigned as u64 }

impl From<i32> for Value {
    /// As JSON writes it: a number is negative or it is not.
    fn from(value: i32) -> Value {
        u64::try_from(value).map_or(Value::Signed(i64::from(value)), Value::Unsigned)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_none(),
            Value::Bool(yes) => serializer.serialize_bool(*yes),
            Value::Unsigned(number) => serializer.serialize_u64(*number),
            Value::Signed(number) => serializer.serialize_i64(*number),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(values) => serializer.collect_seq(values),
            Value::Map(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back() {
        let value = Value::Map(vec![
            ("a".to_owned(), Value::List(vec![Value::Null, true.into(), (-5).into(), 7u64.into()])),
            ("b".to_owned(), Value::Map(vec![("c".to_owned(), "text".into())])),
        ]);
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        assert_eq!(Value::take(&mut Reader::new(&bytes)).as_ref(), Some(&value));
        assert_eq!(value.get("b").and_then(|b| b.get("c")).and_then(Value::as_str), Some("text"));
        for length in 0..bytes.len() {
            assert_eq!(Value::take(&mut Reader::new(&bytes[..length])), None);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [5, 1, 0, 0, 0].repeat(depth).into_iter().chain([0]).collect::<Vec<u8>>();
        assert!(Value::take(&mut Reader::new(&nested(8))).is_some());
        assert_eq!(Value::take(&mut Reader::new(&nested(9))), None);
        assert_eq!(Value::take(&mut Reader::new(&nested(1_000_000))), None);
    }
}
