#![allow(clippy::unwrap_used)]
use super::*;

type Write = fn(Given<'_>, &mut Vec<u8>);

fn run(write: Write, text: &str) -> serde_json::Value {
    let mut out = Vec::new();
    write(Given::new(Raw::parse_str(text).unwrap(), false), &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn subset(text: &str) -> Option<serde_json::Value> {
    gemini_subset(Given::new(Raw::parse_str(text).unwrap(), false)).map(|out| serde_json::from_slice(&out).unwrap())
}

fn noted(text: &str) -> (serde_json::Value, Option<String>) {
    let mut out = Vec::new();
    let note = anthropic(Given::new(Raw::parse_str(text).unwrap(), false), &mut out);
    (serde_json::from_slice(&out).unwrap(), note)
}

#[test]
fn no_schema_is_an_empty_object() {
    for write in [as_given, parameters, gemini_json] as [Write; 3] {
        let mut out = Vec::new();
        write(Given::default(), &mut out);
        assert_eq!(out, plain::EMPTY.as_bytes());
        assert_eq!(run(write, "null"), json(plain::EMPTY));
    }
    let mut out = Vec::new();
    assert_eq!(anthropic(Given::default(), &mut out), None);
    assert_eq!(out, plain::EMPTY.as_bytes());
    assert!(gemini_subset(Given::default()).is_none());
}

#[test]
fn complete_parameters_are_copied_byte_for_byte() {
    let text = r#"{ "type":"object", "properties": {"a":{"maximum":1.0}}, "x":"\u00e9" }"#;
    for write in [as_given, parameters, gemini_json] as [Write; 3] {
        let mut out = Vec::new();
        write(Given::new(Raw::parse_str(text).unwrap(), false), &mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), text);
    }
}

#[test]
fn parameters_get_what_is_missing_at_the_top() {
    assert_eq!(run(parameters, r#"{"type":"object"}"#), json(plain::EMPTY));
    assert_eq!(
        run(parameters, r#"{"type":null,"title":"t"}"#),
        json(r#"{"type":"object","properties":{},"title":"t"}"#)
    );
}

#[test]
fn gemini_types_are_lowered_at_every_level_but_not_in_names_and_values() {
    let text = r#"{"type":"OBJECT","properties":{"type":{"type":"STRING","enum":["STRING"]},
        "l":{"type":"ARRAY","items":{"anyOf":[{"type":"INTEGER"},{"type":"TYPE_UNSPECIFIED"}]}}}}"#;
    let mut out = Vec::new();
    as_given(Given::new(Raw::parse_str(text).unwrap(), true), &mut out);
    let expected = r#"{"type":"object","properties":{"type":{"type":"string","enum":["STRING"]},
        "l":{"type":"array","items":{"anyOf":[{"type":"integer"},{}]}}}}"#;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), json(expected));
}

#[test]
fn anthropic_schemas_are_objects() {
    assert_eq!(noted(r#"{"properties":{}}"#), (json(plain::EMPTY), None));
    assert_eq!(noted(r#"{"type":["object","null"]}"#), (json(r#"{"type":"object"}"#), None));
}

#[test]
fn alternatives_at_the_top_are_merged_and_told() {
    let (schema, note) = noted(
        r##"{"type":"object","properties":{"k":{"type":"string"}},"required":["k"],
            "$defs":{"B":{"properties":{"b":{"type":"integer"},"x":{"type":"string"}},"required":["x","b"]}},
            "oneOf":[{"type":"object","properties":{"a":{},"x":{"type":"number"}},"required":["a","x"]},
                     {"$ref":"#/$defs/B"},{"type":"null"}]}"##,
    );
    assert_eq!(
        schema,
        json(
            r#"{"type":"object","properties":{"k":{"type":"string"},"a":{},
                "x":{"anyOf":[{"type":"number"},{"type":"string"}]},"b":{"type":"integer"}},"required":["k","x"],
                "$defs":{"B":{"properties":{"b":{"type":"integer"},"x":{"type":"string"}},"required":["x","b"]}}}"#
        )
    );
    let note = note.unwrap();
    assert!(note.starts_with("The input must match exactly one of these schemas: {"), "{note}");
    assert!(note.contains(" | "), "{note}");
}

#[test]
fn all_of_adds_up_without_a_note() {
    let (schema, note) = noted(
        r#"{"allOf":[{"properties":{"a":{}},"required":["a"]},
            {"allOf":[{"properties":{"b":{}},"required":["b","a"]}]}]}"#,
    );
    assert_eq!(schema, json(r#"{"type":"object","properties":{"a":{},"b":{}},"required":["a","b"]}"#));
    assert_eq!(note, None);
}

#[test]
fn notes_are_bounded() {
    let branch = format!(r#"{{"properties":{{"é":{{"description":"{}"}}}}}}"#, "é".repeat(3_000));
    let (_, note) = noted(&format!(r#"{{"anyOf":[{branch},{branch}]}}"#));
    assert!(note.unwrap().len() < 4_100);
}

#[test]
fn strict_schemas_are_closed_and_without_limits() {
    let schema = run(
        strict,
        r#"{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9,"description":"count"},
            "l":{"type":"array","minItems":1,"maxItems":3,"items":{"type":"object","additionalProperties":true}},
            "m":{"type":"array","minItems":2,"items":{"type":"string","pattern":"^a"}},
            "o":{"oneOf":[{"type":"string"},{"type":"null"}]}}}"#,
    );
    let expected = r#"{"type":"object","additionalProperties":false,"properties":{
        "n":{"type":"integer","description":"count (minimum: 1, maximum: 9)"},
        "l":{"type":"array","minItems":1,"description":"maxItems: 3",
             "items":{"type":"object","additionalProperties":false}},
        "m":{"type":"array","description":"minItems: 2","items":{"type":"string","description":"pattern: ^a"}},
        "o":{"anyOf":[{"type":"string"},{"type":"null"}]}}}"#;
    assert_eq!(schema, json(expected));
}

#[test]
fn strict_schemas_do_not_recur() {
    let schema = run(
        strict,
        r##"{"$ref":"#/$defs/Node","$defs":{
            "Node":{"type":"object","properties":{"next":{"$ref":"#/$defs/Node"},"leaf":{"$ref":"#/$defs/Leaf"}}},
            "Leaf":{"type":"object","properties":{"s":{"type":"string"}}}}}"##,
    );
    let expected = r##"{"$ref":"#/$defs/Node","$defs":{
        "Node":{"type":"object","additionalProperties":false,"properties":{
            "next":{"type":"object","additionalProperties":false,"description":"recursive: #/$defs/Node"},
            "leaf":{"$ref":"#/$defs/Leaf"}}},
        "Leaf":{"type":"object","additionalProperties":false,"properties":{"s":{"type":"string"}}}}}"##;
    assert_eq!(schema, json(expected));
}

#[test]
fn gemini_json_loses_annotations_only() {
    let schema = run(
        gemini_json,
        r#"{"$schema":"x","$id":"y","type":"object","properties":{"$id":{"$comment":"z","type":"string"}},
            "additionalProperties":false}"#,
    );
    assert_eq!(
        schema,
        json(r#"{"type":"object","properties":{"$id":{"type":"string"}},"additionalProperties":false}"#)
    );
}

#[test]
fn the_gemini_subset() {
    // given, expected
    let rows = [
        (r#"{"const":"a"}"#, r#"{"type":"STRING","enum":["a"]}"#),
        (r#"{"type":["string","null"]}"#, r#"{"type":"STRING","nullable":true}"#),
        (r#"{"type":["string","integer"]}"#, r#"{"anyOf":[{"type":"STRING"},{"type":"INTEGER"}]}"#),
        (r#"{"oneOf":[{"type":"string"},{"type":"number"}]}"#, r#"{"anyOf":[{"type":"STRING"},{"type":"NUMBER"}]}"#),
        (
            r#"{"anyOf":[{"type":"string"},{"type":"null"}],"title":"t"}"#,
            r#"{"type":"STRING","nullable":true,"title":"t"}"#,
        ),
        (
            r#"{"type":"integer","enum":[1,2],"description":"d"}"#,
            r#"{"type":"INTEGER","description":"d (one of: 1, 2)"}"#,
        ),
        (r#"{"type":"string","enum":["a",1,null]}"#, r#"{"type":"STRING","enum":["a","1"],"nullable":true}"#),
        (r#"{"type":"string","format":"uri"}"#, r#"{"type":"STRING"}"#),
        (r#"{"type":"string","format":"date-time"}"#, r#"{"type":"STRING","format":"date-time"}"#),
        (r#"{"type":"array"}"#, r#"{"type":"ARRAY","items":{"type":"STRING"}}"#),
        (r#"{"type":"number","exclusiveMinimum":0,"multipleOf":2,"minimum":1}"#, r#"{"type":"NUMBER","minimum":1}"#),
        (
            r#"{"allOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"b":{"type":"string"}},"required":["b"]}]}"#,
            r#"{"type":"OBJECT","properties":{"a":{"type":"STRING"},"b":{"type":"STRING"}},"required":["a","b"]}"#,
        ),
    ];
    for (given, expected) in rows {
        let wrapped = format!(
            r#"{{"type":"object","$schema":"x","additionalProperties":false,"properties":{{"p":{given}}},
                "required":["p","ghost"]}}"#
        );
        let got = subset(&wrapped).unwrap();
        assert_eq!(got["properties"]["p"], json(expected), "{given}");
        assert_eq!(got["required"], json(r#"["p"]"#));
        assert_eq!(got.as_object().unwrap().len(), 3);
    }
}

#[test]
fn references_are_inlined_to_a_depth() {
    let got = subset(
        r##"{"type":"object","properties":{"n":{"$ref":"#/$defs/N","description":"here"},"u":{"$ref":"http://x"}},
            "$defs":{"N":{"type":"object","properties":{"next":{"$ref":"#/$defs/N"}}}}}"##,
    )
    .unwrap();
    assert_eq!(got["properties"]["n"]["description"], "here");
    assert_eq!(got["properties"]["u"], json(r#"{"type":"OBJECT"}"#));
    let (mut node, mut depth) = (&got["properties"]["n"], 0);
    while let Some(next) = node.pointer("/properties/next") {
        node = next;
        depth += 1;
    }
    assert_eq!(depth, 10);
    assert_eq!(node, &json(r#"{"type":"OBJECT"}"#));
}

#[test]
fn objects_without_properties_need_no_parameters() {
    assert_eq!(subset(r#"{"type":"object","properties":{}}"#), None);
    assert_eq!(subset("{}"), None);
    assert!(subset(r#"{"type":"string"}"#).is_some());
}

#[test]
fn hostile_schemas_end() {
    let doubling: Vec<String> = (0..40)
        .map(|n| format!(r##""d{n}":{{"properties":{{"a":{{"$ref":"#/$defs/d{0}"}},"b":{{"$ref":"#/$defs/d{0}"}}}},"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##, n + 1))
        .collect();
    let bomb = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, doubling.join(","));
    let deep = format!("{}{{}}{}", r#"{"items":"#.repeat(500), "}".repeat(500));
    let chain: Vec<String> =
        (0..5_000).map(|n| format!(r##""d{n}":{{"items":{{"$ref":"#/$defs/d{}"}}}}"##, n + 1)).collect();
    let chain = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, chain.join(","));
    let wide: Vec<_> = (0..2_000).map(|n| format!(r#"{{"properties":{{"a":{{"maximum":{n}}}}}}}"#)).collect();
    let wide = format!(r#"{{"anyOf":[{}]}}"#, wide.join(","));
    for text in [&bomb, &deep, &chain, &wide] {
        let given = Given::new(Raw::parse_str(text).unwrap(), true);
        let mut outs = [const { Vec::new() }; 4];
        anthropic(given, &mut outs[0]);
        strict(given, &mut outs[1]);
        gemini_json(given, &mut outs[2]);
        outs[3] = gemini_subset(given).unwrap_or(b"{}".to_vec());
        for out in outs {
            assert!(Raw::parse(&out).unwrap().is_object());
        }
    }
}
