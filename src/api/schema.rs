//! What JSON of the API looks like: one description for the check of what comes in, for the check of what goes out, and for
//! the OpenAPI document.
//!
//! It is the part of JSON Schema that the API needs, as constants: closed objects, lists, words, bounds. No references
//! between documents, no conditions.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Problem;
use crate::settings::value::nearest;

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    /// Anything.
    Any,
    /// True or false.
    Bool,
    /// A whole number between two bounds, both included.
    Integer(i64, i64),
    /// A number that is not below this one.
    Number(f64),
    /// A text.
    Text(Text),
    /// One of these texts.
    Word(&'static [&'static str]),
    /// A list of at most so many.
    List(&'static Schema, usize),
    /// An object whose members all have one form.
    Map(&'static Schema),
    /// An object with these members and no others.
    Object(&'static Object),
    /// Likewise, made when it is first wanted.
    Made(fn() -> &'static Object),
    /// That, or `null`.
    Nullable(&'static Schema),
    /// One of these, the first that fits.
    Either(&'static [Schema]),
}

/// The form of a text. Lengths are in characters.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Shortest.
    pub min: usize,
    /// Longest.
    pub max: usize,
    /// What it is made of.
    pub form: Form,
}

/// What a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Any,
    /// Characters of one line: no control characters.
    Line,
    /// Small letters, digits and hyphens.
    Label,
    /// `#rrggbb`, or nothing.
    Color,
    /// A time as RFC 3339 has it.
    Time,
}

/// The form of an object.
#[derive(Debug)]
pub struct Object {
    /// Its name among the document's schemas.
    pub name: &'static str,
    /// Its members.
    pub members: &'static [Member],
}

/// A member of an object.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its form.
    pub schema: Schema,
    /// Whether it has to be there.
    pub required: bool,
    /// What it means; empty where the name says it.
    pub help: &'static str,
}

/// A member that has to be there.
pub const fn needed(name: &'static str, schema: Schema, help: &'static str) -> Member {
    Member { name, schema, required: true, help }
}

/// A member that may be missing.
pub const fn optional(name: &'static str, schema: Schema, help: &'static str) -> Member {
    Member { name, schema, required: false, help }
}

/// A text of one line, of at most `max` characters.
pub const fn line(max: usize) -> Schema {
    Schema::Text(Text { min: 0, max, form: Form::Line })
}

/// A name: one line of 1 to `max` characters.
pub const fn name(max: usize) -> Schema {
    Schema::Text(Text { min: 1, max, form: Form::Line })
}

/// Any text of at most `max` characters.
pub const fn text(max: usize) -> Schema {
    Schema::Text(Text { min: 0, max, form: Form::Any })
}

/// A text of ours, in answers: of any length.
pub const TEXT: Schema = Schema::Text(Text { min: 0, max: usize::MAX, form: Form::Any });
/// A text of ours that may be missing.
pub const TEXT_OR_NULL: Schema = Schema::Nullable(&TEXT);
/// A time.
pub const TIME: Schema = Schema::Text(Text { min: 0, max: 64, form: Form::Time });
/// A time that may be missing.
pub const TIME_OR_NULL: Schema = Schema::Nullable(&TIME);
/// A count.
pub const COUNT: Schema = Schema::Integer(0, i64::MAX);
/// A count that may be missing.
pub const COUNT_OR_NULL: Schema = Schema::Nullable(&COUNT);
/// A number that is not negative and may be missing.
pub const NUMBER_OR_NULL: Schema = Schema::Nullable(&Schema::Number(0.0));
/// A list of texts of ours.
pub const TEXTS: Schema = Schema::List(&TEXT, usize::MAX);

/// Which members an object needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Those that are marked.
    Marked,
    /// None: a patch may say any part, and `null` takes back what is not needed.
    Nothing,
}

impl Schema {
    /// Checks a value.
    ///
    /// # Errors
    /// A 422 that names the member.
    pub fn check(&self, value: &Value, needs: Needs) -> Result<(), Problem> {
        self.walk(value, needs, &mut Vec::new())
    }

    fn walk<'v>(&self, value: &'v Value, needs: Needs, way: &mut Vec<Cow<'v, str>>) -> Result<(), Problem> {
        let wrong = |way: &[Cow<'_, str>], expected: String| {
            let place = if way.is_empty() { "the body".to_owned() } else { format!("`{}`", way.join(".")) };
            Err(Problem::invalid(way.join("."), format!("{place} must be {expected}")))
        };
        match (self, value) {
            (Schema::Any, _) | (Schema::Bool, Value::Bool(_)) | (Schema::Nullable(_), Value::Null) => Ok(()),
            (Schema::Bool, _) => wrong(way, "true or false".to_owned()),
            (Schema::Nullable(inner), value) => inner.walk(value, needs, way),
            (Schema::Integer(min, max), value) => match whole(value) {
                Some(number) if number >= i128::from(*min) && number <= i128::from(*max) => Ok(()),
                _ if *max == i64::MAX => wrong(way, format!("a whole number from {min} on")),
                _ => wrong(way, format!("a whole number from {min} to {max}")),
            },
            (Schema::Number(min), value) => match value.as_f64() {
                Some(number) if number >= *min => Ok(()),
                _ => wrong(way, format!("a number from {min} on")),
            },
            (Schema::Text(form), Value::String(text)) => match form.fault(text) {
                Some(expected) => wrong(way, expected),
                None => Ok(()),
            },
            (Schema::Text(_), _) => wrong(way, "a text".to_owned()),
            (Schema::Word(words), value) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                _ => wrong(way, format!("one of {}", words.join(", "))),
            },
            (Schema::List(of, max), Value::Array(items)) => {
                if items.len() > *max {
                    return wrong(way, format!("a list of at most {max}"));
                }
                for (at, item) in items.iter().enumerate() {
                    way.push(at.to_string().into());
                    of.walk(item, Needs::Marked, way)?;
                    way.pop();
                }
                Ok(())
            }
            (Schema::List(..), _) => wrong(way, "a list".to_owned()),
            (Schema::Map(of), Value::Object(members)) => {
                for (name, value) in members {
                    way.push(name.into());
                    of.walk(value, Needs::Marked, way)?;
                    way.pop();
                }
                Ok(())
            }
            (Schema::Object(object), Value::Object(members)) => object.walk(members, needs, way),
            (Schema::Made(object), Value::Object(members)) => object().walk(members, needs, way),
            (Schema::Map(_) | Schema::Object(_) | Schema::Made(_), _) => wrong(way, "an object".to_owned()),
            (Schema::Either(forms), value) => {
                let mut last = Ok(());
                for form in *forms {
                    last = form.walk(value, needs, &mut way.clone());
                    if last.is_ok() {
                        break;
                    }
                }
                last
            }
        }
    }

    /// The schema as JSON Schema; named objects are put into `named` and referred to.
    pub fn document(&self, named: &mut Map<String, Value>) -> Value {
        match self {
            Schema::Any => json!({}),
            Schema::Bool => json!({"type": "boolean"}),
            Schema::Integer(min, max) => {
                let mut schema = json!({"type": "integer", "minimum": min});
                if *max != i64::MAX {
                    schema["maximum"] = (*max).into();
                }
                schema
            }
            Schema::Number(min) => json!({"type": "number", "minimum": min}),
            Schema::Text(text) => text.document(),
            Schema::Word(words) => json!({"type": "string", "enum": words}),
            Schema::List(of, max) => {
                let mut schema = json!({"type": "array", "items": of.document(named)});
                if *max != usize::MAX {
                    schema["maxItems"] = (*max).into();
                }
                schema
            }
            Schema::Map(of) => json!({"type": "object", "additionalProperties": of.document(named)}),
            Schema::Object(object) => {
                if !named.contains_key(object.name) {
                    // Its place is taken first, for objects that hold themselves.
                    named.insert(object.name.to_owned(), Value::Null);
                    let schema = object.document(Needs::Marked, named);
                    named.insert(object.name.to_owned(), schema);
                }
                json!({"$ref": format!("#/components/schemas/{}", object.name)})
            }
            Schema::Made(object) => Schema::Object(object()).document(named),
            Schema::Nullable(inner) => json!({"anyOf": [inner.document(named), {"type": "null"}]}),
            Schema::Either(forms) => {
                let forms: Vec<_> = forms.iter().map(|form| form.document(named)).collect();
                json!({ "anyOf": forms })
            }
        }
    }
}

/// A whole number, however it is written: JSON Schema takes `1.0` for one.
pub(super) fn whole(value: &Value) -> Option<i128> {
    if let Some(number) = value.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = value.as_u64() {
        return Some(number.into());
    }
    value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e18).map(|number| number as i128)
}

fn is_color(text: &str) -> bool {
    text.len() == 7 && text.strip_prefix('#').is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))
}

impl Text {
    /// What is expected instead, if it is not that.
    fn fault(&self, text: &str) -> Option<String> {
        let length = text.chars().count();
        if length < self.min {
            return Some("a text that is not empty".to_owned());
        }
        if length > self.max {
            return Some(format!("a text of at most {} characters", self.max));
        }
        match self.form {
            Form::Line if text.chars().any(char::is_control) => Some("a text of one line".to_owned()),
            Form::Time if text.parse::<jiff::Timestamp>().is_err() => {
                Some("a time such as 2026-01-31T08:00:00Z".to_owned())
            }
            Form::Label if !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') => {
                Some("of a-z, 0-9 and -".to_owned())
            }
            Form::Color if !text.is_empty() && !is_color(text) => Some("a color such as #336699".to_owned()),
            Form::Any | Form::Line | Form::Label | Form::Color | Form::Time => None,
        }
    }

    fn document(&self) -> Value {
        let mut schema = json!({"type": "string"});
        if self.min > 0 {
            schema["minLength"] = self.min.into();
        }
        if self.max != usize::MAX {
            schema["maxLength"] = self.max.into();
        }
        match self.form {
            Form::Any => {}
            // The control characters of Unicode are these two ranges.
            Form::Line => schema["pattern"] = r"^[^\u0000-\u001f\u007f-\u009f]*$".into(),
            Form::Label => schema["pattern"] = "^[a-z0-9-]*$".into(),
            Form::Color => schema["pattern"] = "^(#[0-9a-fA-F]{6})?$".into(),
            Form::Time => schema["format"] = "date-time".into(),
        }
        schema
    }
}

impl Object {
    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&'static Member> {
        self.members.iter().find(|member| member.name == name)
    }

    fn walk<'v>(
        &self,
        members: &'v Map<String, Value>,
        needs: Needs,
        way: &mut Vec<Cow<'v, str>>,
    ) -> Result<(), Problem> {
        for (name, value) in members {
            way.push(name.into());
            let Some(member) = self.member(name) else {
                let known: Vec<_> = self.members.iter().map(|member| member.name).collect();
                let hint = match nearest(name, known.iter().copied(), 3) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("use {}", known.join(", ")),
                };
                let message = format!("there is no member `{}`: {hint}", way.join("."));
                return Err(Problem::new(422, "unknown_field", message).param(way.join(".")));
            };
            let taken_back = needs == Needs::Nothing && value.is_null() && !member.required;
            if !taken_back {
                member.schema.walk(value, Needs::Marked, way)?;
            }
            way.pop();
        }
        let missing = self.members.iter().find(|member| member.required && !members.contains_key(member.name));
        match missing {
            Some(member) if needs == Needs::Marked => {
                way.push(member.name.into());
                let message = format!("`{}` is missing", way.join("."));
                Err(Problem::new(422, "field_required", message).param(way.join(".")))
            }
            _ => Ok(()),
        }
    }

    /// The object as JSON Schema.
    pub fn document(&self, needs: Needs, named: &mut Map<String, Value>) -> Value {
        let mut properties = Map::new();
        for member in self.members {
            let mut schema = member.schema.document(named);
            if needs == Needs::Nothing
                && !member.required
                && schema.as_object().is_some_and(|schema| !schema.is_empty())
            {
                schema = json!({"anyOf": [schema, {"type": "null"}]});
            }
            if !member.help.is_empty() {
                schema["description"] = member.help.into();
            }
            properties.insert(member.name.to_owned(), schema);
        }
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        let required: Vec<_> = self.members.iter().filter(|member| member.required).map(|member| member.name).collect();
        if needs == Needs::Marked && !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INNER: Object = Object { name: "Inner", members: &[needed("at", TIME, "")] };
    const OUTER: Object = Object {
        name: "Outer",
        members: &[
            needed("name", name(4), "what it is called"),
            optional("size", Schema::Integer(1, 9), ""),
            optional("kind", Schema::Word(&["a", "b"]), ""),
            optional("inner", Schema::List(&Schema::Object(&INNER), 2), ""),
            optional("notes", Schema::Map(&Schema::Nullable(&Schema::Bool)), ""),
            optional("any", Schema::Any, ""),
        ],
    };

    fn fault(value: Value) -> Option<(&'static str, String)> {
        let problem = Schema::Object(&OUTER).check(&value, Needs::Marked).err()?;
        Some((problem.code, problem.param.unwrap_or_default()))
    }

    #[test]
    fn values_are_held_to_their_form() {
        assert_eq!(fault(json!({"name": "x", "size": 9.0, "kind": "b", "notes": {"y": null}, "any": [1]})), None);
        assert_eq!(fault(json!({"name": "x", "inner": [{"at": "2026-01-31T08:00:00+02:00"}]})), None);
        for (value, code, param) in [
            (json!({}), "field_required", "name"),
            (json!([]), "invalid_value", ""),
            (json!({"name": ""}), "invalid_value", "name"),
            (json!({"name": "12345"}), "invalid_value", "name"),
            (json!({"name": "a\nb"}), "invalid_value", "name"),
            (json!({"name": "x", "size": 1.5}), "invalid_value", "size"),
            (json!({"name": "x", "size": 10}), "invalid_value", "size"),
            (json!({"name": "x", "size": null}), "invalid_value", "size"),
            (json!({"name": "x", "kind": "c"}), "invalid_value", "kind"),
            (json!({"name": "x", "inner": [{}]}), "field_required", "inner.0.at"),
            (json!({"name": "x", "inner": [{"at": "yesterday"}]}), "invalid_value", "inner.0.at"),
            (json!({"name": "x", "inner": [0, 0, 0]}), "invalid_value", "inner"),
            (json!({"name": "x", "notes": {"y": 1}}), "invalid_value", "notes.y"),
            (json!({"name": "x", "other": 1}), "unknown_field", "other"),
        ] {
            assert_eq!(fault(value.clone()), Some((code, param.to_owned())), "{value}");
        }
    }

    #[test]
    fn a_patch_needs_nothing_and_takes_back_with_null() {
        let patch = |value| Schema::Object(&OUTER).check(&value, Needs::Nothing).map_err(|problem| problem.code);
        assert_eq!(patch(json!({})), Ok(()));
        assert_eq!(patch(json!({"size": null, "inner": null})), Ok(()));
        assert_eq!(patch(json!({"name": null})), Err("invalid_value"));
        assert_eq!(patch(json!({"inner": [{}]})), Err("field_required"));
    }

    #[test]
    fn objects_are_named_once_in_the_document() {
        let mut named = Map::new();
        let schema = Schema::Object(&OUTER).document(&mut named);
        assert_eq!(schema, json!({"$ref": "#/components/schemas/Outer"}));
        assert!(named.len() == 2 && named.contains_key("Outer") && named.contains_key("Inner"));
        assert_eq!(named["Outer"]["required"], json!(["name"]));
        assert_eq!(named["Outer"]["properties"]["size"], json!({"type": "integer", "minimum": 1, "maximum": 9}));
        let patch = OUTER.document(Needs::Nothing, &mut named);
        assert_eq!(patch["properties"]["name"]["maxLength"], 4);
        assert_eq!(patch["properties"]["kind"]["anyOf"][1], json!({"type": "null"}));
        assert!(patch.get("required").is_none());
    }
}
