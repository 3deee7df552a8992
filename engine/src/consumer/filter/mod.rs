//! Which records somebody wants, by their tag and headers.
//!
//! Invariants:
//! - A filter has one form: conditions that nest for no reason are joined while it is built, so that what is read of its
//!   text equals it.
//! - It is at most [`DEPTH_MAX`] deep: whatever walks it needs little stack. One that grew beyond that holds nothing, and
//!   who uses it is told.

mod select;
mod text;

pub(in crate::consumer) use select::wanted;

use super::records::RecordView;
use crate::error::{Error, Result};
use crate::record::{Header, TAG_HEADER};

/// How deep conditions may nest.
const DEPTH_MAX: usize = 16;
/// Longest text of a filter, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Says which records are wanted, by their tag and headers: for consumers
/// ([`ConsumerOptions::filter`](crate::ConsumerOptions::filter)) and groups
/// ([`GroupOptions::filter`](crate::GroupOptions::filter)).
///
/// Its text ([`Display`](std::fmt::Display), [`FromStr`](std::str::FromStr)) has at most 4,096 bytes, and it nests at
/// most 16 deep; one that is larger is refused where it is used. The grammar stands in docs/DELIVERY.md.
///
/// ```
/// use ringlane::Filter;
/// let filter = Filter::tag("paid").and(!Filter::header_equals("region", "eu"));
/// assert_eq!(filter.to_string(), "tag = paid and region != eu");
/// assert_eq!("tag=paid and not region=eu".parse::<Filter>()?, filter);
/// # Ok::<(), ringlane::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `None`: it became too deep.
    root: Option<Node>,
    depth: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Equals {
        name: String,
        value: Vec<u8>,
    },
    Exists {
        name: String,
    },
    /// Not of another `Not`.
    Not(Box<Node>),
    /// At least two, none of them `All`.
    All(Vec<Node>),
    /// At least two, none of them `Any`.
    Any(Vec<Node>),
}

impl Filter {
    /// Records with this tag: short for a header of the name [`TAG_HEADER`].
    pub fn tag(tag: &str) -> Filter {
        Filter::header_equals(TAG_HEADER, tag)
    }

    /// Records with a header of this name that has this value, byte for byte. Of several headers of the name one is
    /// enough.
    pub fn header_equals(name: &str, value: impl AsRef<[u8]>) -> Filter {
        Filter::of(Node::Equals { name: name.to_owned(), value: value.as_ref().to_vec() }, 1)
    }

    /// Records with a header of this name, whatever its value.
    pub fn header_exists(name: &str) -> Filter {
        Filter::of(Node::Exists { name: name.to_owned() }, 1)
    }

    /// Records that both want.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        let parts = |node| match node {
            Node::All(nodes) => Ok(nodes),
            node => Err(node),
        };
        self.join(other, parts, Node::All)
    }

    /// Records that one of both wants, or both.
    #[must_use]
    pub fn or(self, other: Filter) -> Filter {
        let parts = |node| match node {
            Node::Any(nodes) => Ok(nodes),
            node => Err(node),
        };
        self.join(other, parts, Node::Any)
    }

    /// Whether it wants a record.
    pub fn matches(&self, record: &RecordView<'_>) -> bool {
        self.root.as_ref().is_some_and(|root| root.matches(record.headers()))
    }

    /// Whether it may be used.
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |value: &str, reason: String| {
            Err(Error::InvalidArgument { name: "filter", value: value.to_owned(), reason })
        };
        if self.root.is_none() {
            return invalid("", format!("its conditions nest more than {DEPTH_MAX} deep; say it with fewer levels"));
        }
        let text = self.to_string();
        match text.len() > TEXT_BYTES_MAX {
            true => invalid(&text::beginning(&text), text::too_long(text.len())),
            false => Ok(()),
        }
    }

    fn of(root: Node, depth: usize) -> Filter {
        match depth <= DEPTH_MAX {
            true => Filter { root: Some(root), depth },
            false => Filter { root: None, depth: 0 },
        }
    }

    /// Joins two; one that is of the kind already (`parts` gives what it consists of) gets no level of its own.
    fn join(
        self,
        other: Filter,
        parts: impl Fn(Node) -> Result<Vec<Node>, Node>,
        join: impl Fn(Vec<Node>) -> Node,
    ) -> Filter {
        let (Some(one), Some(two)) = (self.root, other.root) else { return Filter { root: None, depth: 0 } };
        let (mut nodes, one_depth) = match parts(one) {
            Ok(nodes) => (nodes, self.depth - 1),
            Err(node) => (vec![node], self.depth),
        };
        let two_depth = match parts(two) {
            Ok(more) => {
                nodes.extend(more);
                other.depth - 1
            }
            Err(node) => {
                nodes.push(node);
                other.depth
            }
        };
        Filter::of(join(nodes), 1 + one_depth.max(two_depth))
    }
}

impl std::ops::Not for Filter {
    type Output = Filter;

    /// Records that it does not want.
    fn not(self) -> Filter {
        match self.root {
            Some(Node::Not(node)) => Filter::of(*node, self.depth - 1),
            Some(node) => Filter::of(Node::Not(Box::new(node)), self.depth + 1),
            None => self,
        }
    }
}

impl Node {
    fn matches<'a>(&self, headers: impl Iterator<Item = Header<'a>> + Clone) -> bool {
        let mut of = headers.clone();
        match self {
            Node::Equals { name, value } => of.any(|header| header.name == name && header.value == value),
            Node::Exists { name } => of.any(|header| header.name == name),
            Node::Not(node) => !node.matches(headers),
            Node::All(nodes) => nodes.iter().all(|node| node.matches(headers.clone())),
            Node::Any(nodes) => nodes.iter().any(|node| node.matches(headers.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, headers: &[(&str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() });
        filter.parse::<Filter>().unwrap().root.unwrap().matches(headers)
    }

    #[test]
    fn each_condition_means_what_it_says() {
        let paid = [("tag", "paid"), ("region", "eu"), ("region", "us")];
        for filter in [
            "tag = paid",
            "exists region",
            "not exists urgent",
            "region = us and region = eu",
            "tag = refunded or region = eu",
            "tag != refunded and (exists urgent or exists region)",
            "urgent != yes",
        ] {
            assert!(matches(filter, &paid), "{filter}");
        }
        for filter in ["tag = Paid", "region != eu", "tag = paid and exists urgent", "urgent = \"\"", "Tag = paid"] {
            assert!(!matches(filter, &paid), "{filter}");
        }
        assert!(!matches("exists tag", &[]));
    }

    #[test]
    fn what_nests_for_no_reason_is_one_level() {
        let tag = |number: usize| Filter::tag(&number.to_string());
        let chain = (1..40).map(tag).fold(tag(0), Filter::or);
        assert_eq!(chain.depth, 2);
        chain.check().unwrap();
        assert_eq!(tag(1).and(tag(2).and(tag(3))), tag(1).and(tag(2)).and(tag(3)));
        assert_eq!(!!tag(1), tag(1));
    }

    #[test]
    fn one_that_is_too_large_is_refused_however_it_was_built() {
        let tag = Filter::tag("a");
        let deeper = |filter: Filter| filter.and(tag.clone()).or(tag.clone());
        let deepest = (0..7).fold(tag.clone(), |filter, _| deeper(filter)).and(tag.clone());
        assert_eq!(deepest.depth, DEPTH_MAX);
        deepest.check().unwrap();
        let too_deep = !deepest;
        assert!(too_deep.check().unwrap_err().to_string().contains("16 deep"));
        assert_eq!(too_deep.clone().or(tag.clone()), too_deep.clone().and(too_deep.clone()));
        assert_eq!((0..100_000).fold(tag.clone(), |filter, _| deeper(filter)), !too_deep);
        let long = Filter::tag(&"x".repeat(TEXT_BYTES_MAX));
        let error = long.check().unwrap_err().to_string();
        assert!(error.contains("4,096 bytes") && error.len() < 300, "{error}");
    }
}
