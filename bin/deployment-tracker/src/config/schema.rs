//! Walks a value and its JSON schema together: finds the secrets in the value, and numbers out of range.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};
use tracker_server::REDACTED;

/// The keywords whose schemas apply to the same value.
const SAME_VALUE: [&str; 6] = ["allOf", "anyOf", "oneOf", "if", "then", "else"];
/// More levels than any schema has, for references that never end.
const MAX_DEPTH: usize = 64;

/// How to treat values that the schema does not describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    Show,
    /// They may be secrets, such as a field under the name of a `serde(alias)`.
    Hide,
}

/// A schema.
#[derive(Debug, Clone, Copy)]
pub struct Schema<'a> {
    schema: &'a Value,
    /// The schema that references are relative to.
    root: &'a Value,
}

impl<'a> Schema<'a> {
    /// The schema `root`.
    pub fn new(root: &'a Value) -> Self {
        Self { schema: root, root }
    }

    fn at(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    fn reference(self) -> Option<Self> {
        let pointer = self.schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer).map(|schema| self.at(schema))
    }

    /// This schema and all that apply to the same value. Which alternative the value has does not matter.
    fn parts(self) -> Vec<Self> {
        let mut parts = vec![self];
        let mut next = 0;
        while let Some(part) = parts.get(next).copied() {
            next += 1;
            let nested = SAME_VALUE.iter().filter_map(|keyword| part.schema.get(keyword));
            let nested =
                nested.flat_map(|schemas| schemas.as_array().map_or(std::slice::from_ref(schemas), Vec::as_slice));
            let nested: Vec<_> = nested.map(|schema| self.at(schema)).chain(part.reference()).collect();
            for schema in nested {
                if !parts.iter().any(|known| std::ptr::eq(known.schema, schema.schema)) {
                    parts.push(schema);
                }
            }
        }
        parts
    }

    /// The schemas of the member `name` of an object.
    fn member(self, name: &str) -> Vec<Self> {
        let named = self.schema.get("properties").and_then(|properties| properties.get(name));
        let patterns = self.schema.get("patternProperties").and_then(Value::as_object);
        let others = ["additionalProperties", "unevaluatedProperties"].map(|keyword| self.schema.get(keyword));
        let others = others.into_iter().flatten().filter(|schema| **schema != false && named.is_none());
        // Which pattern the name matches does not matter.
        named.into_iter().chain(patterns.into_iter().flat_map(Map::values)).chain(others).map(|s| self.at(s)).collect()
    }

    /// The schema of the item `index` of a list.
    fn item(self, index: usize) -> Option<Self> {
        let positional = self.schema.get("prefixItems").and_then(|items| items.get(index));
        positional.or_else(|| self.schema.get("items")).map(|schema| self.at(schema))
    }

    fn types(self) -> &'a [Value] {
        let types = self.schema.get("type");
        types.map_or(&[], |types| types.as_array().map_or(std::slice::from_ref(types), Vec::as_slice))
    }

    /// Replaces every secret in `value`: each value for which the schema, or one of its alternatives, has `writeOnly`.
    pub fn redact(self, value: &mut Value, unknown: Unknown) {
        let parts = self.parts();
        let is_secret = parts.iter().any(|part| part.schema.get("writeOnly") == Some(&Value::Bool(true)));
        let mut types = parts.iter().flat_map(|part| part.types()).peekable();
        let is_unknown = types.peek().is_some() && !types.any(|name| is_type(value, name));
        if is_secret || (is_unknown && unknown == Unknown::Hide) {
            hide(value);
            return;
        }
        match value {
            Value::Object(members) => {
                let has_names = parts.iter().any(|part| part.schema.get("properties").is_some());
                for (name, value) in members {
                    let schemas: Vec<_> = parts.iter().flat_map(|part| part.member(name)).collect();
                    if schemas.is_empty() && has_names && unknown == Unknown::Hide {
                        hide(value);
                    }
                    schemas.into_iter().for_each(|schema| schema.redact(value, unknown));
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter_mut().enumerate() {
                    parts.iter().filter_map(|part| part.item(index)).for_each(|schema| schema.redact(value, unknown));
                }
            }
            _ => {}
        }
    }

    /// The first number in `value` that is out of the range of its schema: its path, and the range in words.
    pub fn out_of_range(self, value: &Value) -> Option<(String, String)> {
        self.misfit("", value, MAX_DEPTH).range
    }

    fn misfit(self, path: &str, value: &Value, depth: usize) -> Misfit {
        let mut found = Misfit::default();
        let Some(depth) = depth.checked_sub(1) else { return found };
        let keyword = |name| self.schema.get(name);
        let is_required = |name: &Value| name.as_str().is_none_or(|name| value.get(name).is_some());
        found.shape = (!self.types().is_empty() && !self.types().iter().any(|name| is_type(value, name)))
            || keyword("const").is_some_and(|only| only != value)
            || keyword("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value))
            || (value.is_object()
                && !keyword("required").and_then(Value::as_array).is_none_or(|names| names.iter().all(is_required)));
        if let (Some(number), Some(schema)) = (value.as_number(), self.schema.as_object())
            && !is_in_range(schema, number)
        {
            found.range = range_in_words(schema, Number::to_string).map(|range| (path.to_owned(), range));
        }
        let same = keyword("allOf").and_then(Value::as_array).into_iter().flatten().map(|schema| self.at(schema));
        for schema in same.chain(self.reference()) {
            found.add(schema.misfit(path, value, depth));
        }
        for alternatives in ["anyOf", "oneOf"].iter().filter_map(|name| keyword(name)?.as_array()) {
            let misfits = alternatives.iter().map(|schema| self.at(schema).misfit(path, value, depth));
            let of_this_shape: Vec<_> = misfits.filter(|misfit| !misfit.shape).collect();
            found.shape |= of_this_shape.is_empty();
            if of_this_shape.iter().all(|misfit| misfit.range.is_some()) {
                of_this_shape.into_iter().take(1).for_each(|misfit| found.add(misfit));
            }
        }
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    self.member(name)
                        .into_iter()
                        .for_each(|schema| found.add(schema.misfit(&below(name), value, depth)));
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    let misfit = self.item(index).map(|schema| schema.misfit(&below(&index.to_string()), value, depth));
                    found.add(misfit.unwrap_or_default());
                }
            }
            _ => {}
        }
        found
    }
}

/// The ways in which a value contradicts a schema.
#[derive(Debug, Default)]
struct Misfit {
    /// The value has another form, so the schema is not the alternative that describes it.
    shape: bool,
    range: Option<(String, String)>,
}

impl Misfit {
    fn add(&mut self, other: Self) {
        self.shape |= other.shape;
        self.range = self.range.take().or(other.range);
    }
}

fn hide(value: &mut Value) {
    if !value.is_null() {
        *value = REDACTED.into();
    }
}

/// Whether `value` has the JSON type `name`.
fn is_type(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("integer") => value.as_number().is_some_and(|number| number.as_f64().is_some_and(|n| n.fract() == 0.0)),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("null") => value.is_null(),
        _ => true,
    }
}

fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match left.as_i128().zip(right.as_i128()) {
        // A float has fewer digits than a large integer.
        Some((left, right)) => Some(left.cmp(&right)),
        None => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn is_in_range(schema: &Map<String, Value>, number: &Number) -> bool {
    let holds = |name, is_kept: fn(Ordering) -> bool| {
        let bound = schema.get(name).and_then(Value::as_number);
        bound.is_none_or(|bound| compare(number, bound).is_some_and(is_kept))
    };
    holds("minimum", Ordering::is_ge)
        && holds("maximum", Ordering::is_le)
        && holds("exclusiveMinimum", Ordering::is_gt)
        && holds("exclusiveMaximum", Ordering::is_lt)
}

/// The type and range of the number that `schema` describes, as in `an integer from 1 to 9`; `None` without a range.
pub fn range_in_words(schema: &Map<String, Value>, show: impl Fn(&Number) -> String) -> Option<String> {
    let types = schema.get("type");
    let is = |name: &str| {
        types.is_some_and(|types| types == name || types.as_array().is_some_and(|t| t.contains(&name.into())))
    };
    let noun = if is("integer") { "an integer" } else { "a number" };
    let bound = |name| schema.get(name).and_then(Value::as_number).map(&show);
    if let (Some(least), Some(most)) = (bound("minimum"), bound("maximum")) {
        return Some(format!("{noun} from {least} to {most}"));
    }
    let bounds =
        [("at least", "minimum"), ("above", "exclusiveMinimum"), ("at most", "maximum"), ("below", "exclusiveMaximum")];
    let bounds: Vec<_> =
        bounds.into_iter().filter_map(|(words, name)| Some(format!("{words} {}", bound(name)?))).collect();
    if bounds.is_empty() { None } else { Some(format!("{noun}, {}", bounds.join(" and "))) }
}

#[cfg(test)]
mod tests;
