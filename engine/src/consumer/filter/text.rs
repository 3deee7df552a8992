//! Filters as text: what a command line says, and what the catalog keeps.
//!
//! ```text
//! filter    = all { "or" all }
//! all       = one { "and" one }
//! one       = "not" one | "(" filter ")" | condition
//! condition = name "=" value | name "!=" value | "exists" name
//! name, value = letters, digits and _ - . : / @ + ; or anything in "..." or '...', where \\ \" \' and \xHH stand for a
//!               backslash, a quote, and the byte HH
//! ```
//!
//! Invariant: reading never panics, uses little stack, and takes what [`Display`](std::fmt::Display) writes.

use super::{DEPTH_MAX, Filter, Node, TEXT_BYTES_MAX};
use crate::error::{Error, Result};
use std::fmt::{self, Write};
use std::str::FromStr;

/// Words that are no names and values unless they are quoted.
const KEYWORDS: [&str; 4] = ["and", "or", "not", "exists"];

fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.:/@+".contains(&byte)
}

// ----- writing -----

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.as_ref().map_or(Ok(()), |root| root.write(f))
    }
}

impl Node {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Equals { name, value } => write!(f, "{} = {}", Quoted(name.as_bytes()), Quoted(value)),
            Node::Exists { name } => write!(f, "exists {}", Quoted(name.as_bytes())),
            Node::Not(node) => match &**node {
                Node::Equals { name, value } => write!(f, "{} != {}", Quoted(name.as_bytes()), Quoted(value)),
                node => {
                    f.write_str("not ")?;
                    node.write_in(f, matches!(node, Node::All(_) | Node::Any(_)))
                }
            },
            Node::All(nodes) => Node::write_list(f, nodes, " and "),
            Node::Any(nodes) => Node::write_list(f, nodes, " or "),
        }
    }

    fn write_list(f: &mut fmt::Formatter<'_>, nodes: &[Node], between: &str) -> fmt::Result {
        for (at, node) in nodes.iter().enumerate() {
            f.write_str(if at > 0 { between } else { "" })?;
            node.write_in(f, matches!(node, Node::Any(_)))?;
        }
        Ok(())
    }

    fn write_in(&self, f: &mut fmt::Formatter<'_>, parentheses: bool) -> fmt::Result {
        if !parentheses {
            return self.write(f);
        }
        f.write_char('(')?;
        self.write(f)?;
        f.write_char(')')
    }
}

/// A name or value: as it is, if it is a word, else in quotes.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(word) = std::str::from_utf8(self.0)
            && !word.is_empty()
            && word.bytes().all(is_in_word)
            && !KEYWORDS.contains(&word)
        {
            return f.write_str(word);
        }
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => write!(f, "\\{character}")?,
                    character if character.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(character))?,
                    character => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Filter {
    /// Its text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As much of a text as an error shows.
pub(super) fn beginning(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

pub(super) fn too_long(bytes: usize) -> String {
    format!("it has {bytes} bytes, and may have 4,096 bytes; filter by one header that says it all")
}

const _: () = assert!(TEXT_BYTES_MAX == 4096, "see too_long");

// ----- reading -----

impl Filter {
    /// Reads what was written, and nothing else that means the same.
    pub(crate) fn read_back(text: &str) -> Option<Filter> {
        text.parse().ok().filter(|filter: &Filter| filter.to_string() == text)
    }
}

impl FromStr for Filter {
    type Err = Error;

    /// Reads the text of a filter. The error says what is wrong with it, and where.
    fn from_str(text: &str) -> Result<Filter> {
        let invalid = |reason| Error::InvalidArgument { name: "filter", value: beginning(text), reason };
        if text.len() > TEXT_BYTES_MAX {
            return Err(invalid(too_long(text.len())));
        }
        let mut reader = Reader { text, at: 0, token_at: 0, token: Token::End };
        let filter = reader.next().and_then(|()| reader.whole()).map_err(invalid)?;
        filter.check()?;
        Ok(filter)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(Vec<u8>),
    Open,
    Close,
    Equal,
    NotEqual,
    End,
}

/// A place in the text; `token` is the next one.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    token_at: usize,
    token: Token,
}

impl Reader<'_> {
    /// Reads the next token.
    fn next(&mut self) -> Result<(), String> {
        let rest = self.text[self.at..].trim_start();
        self.token_at = self.text.len() - rest.len();
        let (token, bytes) = match rest.as_bytes() {
            [] => (Token::End, 0),
            [b'(', ..] => (Token::Open, 1),
            [b')', ..] => (Token::Close, 1),
            [b'=', ..] => (Token::Equal, 1),
            [b'!', b'=', ..] => (Token::NotEqual, 2),
            [quote @ (b'"' | b'\''), ..] => self.quoted(rest, *quote)?,
            bytes => {
                let length = bytes.iter().take_while(|byte| is_in_word(**byte)).count();
                let word = &rest[..length];
                if word.is_empty() {
                    return Err(self.expected("a name, a value or a sign; quote what has other characters"));
                }
                (Token::Word(word.to_owned()), length)
            }
        };
        self.at = self.token_at + bytes;
        self.token = token;
        Ok(())
    }

    /// The text in quotes at the start of `rest`, and its bytes there.
    fn quoted(&self, rest: &str, quote: u8) -> Result<(Token, usize), String> {
        let bytes = rest.as_bytes();
        let (mut value, mut at) = (Vec::new(), 1);
        loop {
            match bytes.get(at..).unwrap_or_default() {
                [] => return Err(self.expected("the end of what is quoted")),
                [byte, ..] if *byte == quote => return Ok((Token::Quoted(value), at + 1)),
                [b'\\', escaped @ (b'\\' | b'"' | b'\''), ..] => {
                    value.push(*escaped);
                    at += 2;
                }
                [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
                    value.push(digit(*high) * 16 + digit(*low));
                    at += 4;
                }
                [b'\\', ..] => return Err(self.expected("only \\\\, \\\", \\' and \\xHH behind a backslash")),
                [byte, ..] => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
    }

    fn expected(&self, what: &str) -> String {
        let rest = &self.text[self.token_at..];
        match rest.is_empty() {
            true => format!("expected {what} at its end"),
            false => format!("expected {what} at byte {}: `{}`", self.token_at, beginning(rest)),
        }
    }

    /// Passes over a word of the language, if it comes next.
    fn skip(&mut self, keyword: &str) -> Result<bool, String> {
        let is_it = matches!(&self.token, Token::Word(word) if word == keyword);
        if is_it {
            self.next()?;
        }
        Ok(is_it)
    }

    fn whole(&mut self) -> Result<Filter, String> {
        let filter = self.filter(DEPTH_MAX)?;
        match self.token {
            Token::End => Ok(filter),
            _ => Err(self.expected("`and`, `or` or the end")),
        }
    }

    /// `levels`: so many parentheses may open yet.
    fn filter(&mut self, levels: usize) -> Result<Filter, String> {
        let mut filter = self.all(levels)?;
        while self.skip("or")? {
            filter = filter.or(self.all(levels)?);
        }
        Ok(filter)
    }

    fn all(&mut self, levels: usize) -> Result<Filter, String> {
        let mut filter = self.one(levels)?;
        while self.skip("and")? {
            filter = filter.and(self.one(levels)?);
        }
        Ok(filter)
    }

    fn one(&mut self, levels: usize) -> Result<Filter, String> {
        let mut is_negated = false;
        while self.skip("not")? {
            is_negated = !is_negated;
        }
        let one = match self.token {
            Token::Open if levels == 0 => return Err(self.expected("at most 16 parentheses in each other")),
            Token::Open => {
                self.next()?;
                let inner = self.filter(levels - 1)?;
                if self.token != Token::Close {
                    return Err(self.expected("`and`, `or` or `)`"));
                }
                self.next()?;
                inner
            }
            _ => self.condition()?,
        };
        Ok(if is_negated { !one } else { one })
    }

    fn condition(&mut self) -> Result<Filter, String> {
        if self.skip("exists")? {
            return Ok(Filter::header_exists(&self.name()?));
        }
        let name = self.name()?;
        let is_equal = match self.token {
            Token::Equal => true,
            Token::NotEqual => false,
            _ => return Err(self.expected("`=` or `!=` behind a header's name (or `exists` before it)")),
        };
        self.next()?;
        let equals = Filter::header_equals(&name, self.bytes("a value")?);
        Ok(if is_equal { equals } else { !equals })
    }

    fn name(&mut self) -> Result<String, String> {
        let what = "the name of a header";
        let not_text = self.expected("a name that is UTF-8");
        String::from_utf8(self.bytes(what)?).map_err(|_| not_text)
    }

    fn bytes(&mut self, what: &str) -> Result<Vec<u8>, String> {
        let bytes = match &self.token {
            Token::Word(word) if !KEYWORDS.contains(&word.as_str()) => word.clone().into_bytes(),
            Token::Quoted(bytes) => bytes.clone(),
            _ => return Err(self.expected(what)),
        };
        self.next()?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters() -> impl Strategy<Value = Filter> {
        let name = prop_oneof![Just("tag".to_owned()), Just("not".to_owned()), ".{0,9}"];
        let value = proptest::collection::vec(any::<u8>(), 0..9);
        let leaf = prop_oneof![
            (name.clone(), value).prop_map(|(name, value)| Filter::header_equals(&name, value)),
            name.prop_map(|name| Filter::header_exists(&name)),
        ];
        leaf.prop_recursive(7, 24, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(one, two)| one.and(two)),
                (inner.clone(), inner.clone()).prop_map(|(one, two)| one.or(two)),
                inner.prop_map(|one| !one),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(filter in filters()) {
            filter.check().unwrap();
            prop_assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(and|or|not|exists|tag|[()=!\"' ]|\\\\x?|[0-9a-f]|\\PC|.){0,40}") {
            if let Ok(filter) = text.parse::<Filter>() {
                let again = filter.to_string();
                prop_assert_eq!(again.parse::<Filter>().unwrap(), filter);
            }
        }
    }

    #[test]
    fn a_filter_has_one_text() {
        for (text, canonical) in [
            ("tag=paid", "tag = paid"),
            ("a = 1 or b = 2 and c = 3", "a = 1 or b = 2 and c = 3"),
            ("(a = 1 or b = 2) and c = 3", "(a = 1 or b = 2) and c = 3"),
            ("((a = 1)) and (b = 2 and c = 3)", "a = 1 and b = 2 and c = 3"),
            ("not (a = 1 and exists b)", "not (a = 1 and exists b)"),
            ("not not not a = 1", "a != 1"),
            ("not a != 1", "a = 1"),
            ("'a b' = 'it\\'s \"so\"'", "\"a b\" = \"it's \\\"so\\\"\""),
            ("\"not\" = \"\\xff\\x0A\"", "\"not\" = \"\\xff\\x0a\""),
            ("größe != groß", ""),
            ("'größe' = ''", "\"größe\" = \"\""),
        ] {
            match text.parse::<Filter>() {
                Ok(filter) => assert_eq!(filter.to_string(), canonical, "{text}"),
                Err(error) => assert_eq!(canonical, "", "{error}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_where() {
        let deep = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
        deep(DEPTH_MAX).parse::<Filter>().unwrap();
        for (text, reason) in [
            ("", "expected the name of a header at its end"),
            ("tag", "`=` or `!=`"),
            ("tag paid", "at byte 4: `paid`"),
            ("tag = ", "a value at its end"),
            ("tag = paid region = eu", "`and`, `or` or the end at byte 11"),
            ("tag = paid AND region = eu", "at byte 11: `AND"),
            ("tag == paid", "a value at byte 5"),
            ("tag = and", "a value at byte 6"),
            ("(tag = paid", "`)` at its end"),
            ("tag = paid)", "the end at byte 10"),
            ("tag = \"paid", "the end of what is quoted"),
            ("tag = \"\\n\"", "behind a backslash"),
            ("\"\\xff\" = 1", "UTF-8 at byte 0"),
            ("tag = a,b", "quote what has other characters"),
            ("tag ! paid", "at byte 4"),
            (&deep(DEPTH_MAX + 1), "at most 16 parentheses"),
            (&"not ".repeat(2_000), "4,096 bytes"),
            (&format!("{}a=1{}", "not (b=1 and ".repeat(9), ")".repeat(9)), "16 deep"),
        ] {
            let error = text.parse::<Filter>().unwrap_err().to_string();
            assert!(error.starts_with("filter = ") && error.contains(reason), "{text}: {error}");
        }
    }
}
