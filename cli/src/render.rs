//! Tables and lists for people, from the very values that `--json` prints.
//!
//! Invariant: nothing is shown here that is not in the JSON, and nothing of the JSON is left out.

use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// Objects with more fields than these would be too wide for a row.
const TABLE_COLUMNS_MAX: usize = 12;

/// An object as `name  value` lines; nested names are joined with dots, lists of objects become tables.
pub fn fields(value: &impl Serialize) -> String {
    let mut leaves = Vec::new();
    let mut tables = Vec::new();
    collect("", &json(value), &mut leaves, &mut tables);
    let width = leaves.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in leaves {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:width$}  {value}");
    }
    for (name, rows) in tables {
        let _ = write!(text, "\n{name}\n{}", table(&rows));
    }
    text
}

/// Rows of objects as a table; the first row's names are the columns.
pub fn table<T: Serialize>(rows: &[T]) -> String {
    let rows: Vec<Value> = rows.iter().map(json).collect();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut numeric = Vec::new();
    if let Some(Value::Object(first)) = rows.first() {
        lines.push(first.keys().cloned().collect());
        numeric = first.values().map(|value| value.is_number() || value.is_null()).collect();
        for row in &rows {
            lines.push(first.keys().map(|name| row.get(name).map_or_else(String::new, leaf)).collect());
        }
    }
    aligned(&lines, &numeric)
}

/// Lines of cells with columns of equal width; `right` says which stand on the right.
pub fn aligned(lines: &[Vec<String>], right: &[bool]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut out = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let _ = match right.get(column) {
                Some(true) => write!(out, "{cell:>width$}  "),
                _ => write!(out, "{cell:width$}  "),
            };
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| Value::String(format!("cannot be shown: {error}")))
}

fn collect(name: &str, value: &Value, leaves: &mut Vec<(String, String)>, tables: &mut Vec<(String, Vec<Value>)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                collect(&name, value, leaves, tables);
            }
        }
        Value::Array(rows)
            if rows.iter().any(|row| row.as_object().is_some_and(|row| row.len() > TABLE_COLUMNS_MAX)) =>
        {
            for (index, row) in rows.iter().enumerate() {
                collect(&format!("{name}.{index}"), row, leaves, tables);
            }
        }
        Value::Array(rows) if rows.iter().any(Value::is_object) => tables.push((name.to_owned(), rows.clone())),
        other => leaves.push((name.to_owned(), leaf(other))),
    }
}

fn leaf(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => crate::text::printable(text.as_bytes()),
        Value::Array(values) => values.iter().map(leaf).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_values_get_dotted_names_and_lists_become_tables() {
        let value =
            json!({"a": 1, "b": {"c": "x", "d": null}, "e": [1, 2], "f": [{"g": 1, "h": "y"}, {"g": 20, "h": "z"}]});
        assert_eq!(fields(&value), "a    1\nb.c  x\nb.d  -\ne    1 2\n\nf\n g  h\n 1  y\n20  z\n");
    }

    #[test]
    fn a_table_without_rows_is_empty() {
        assert_eq!(table::<Value>(&[]), "");
    }

    #[test]
    fn no_control_character_comes_through() {
        assert_eq!(fields(&json!({"a": "\u{1b}[0m"})), "a  \\u{1b}[0m\n");
    }
}
