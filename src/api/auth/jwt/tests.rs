#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::api::auth::testing::{Signer, encode};

static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::new);

const NOW: i64 = 1_700_000_000;

const EXPECTED: Expected<'_> =
    Expected { issuer: "https://id.example", client_id: "flow", nonce: "the-nonce", now: NOW };

fn keys() -> Keys {
    Keys::parse(SIGNER.jwks().to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "flow", "sub": "user-1", "nonce": "the-nonce",
        "exp": NOW + 300, "iat": NOW, "email": "a@example.org", "email_verified": true,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn judged(algorithm: &str, header: &Value, claims: &Value) -> Result<Claims, Flaw> {
    verify(&SIGNER.token(algorithm, header, claims), &keys(), &EXPECTED)
}

fn claimed(claims: &Value) -> Result<Claims, Flaw> {
    judged("ES256", &json!({"alg": "ES256", "kid": "p256"}), claims)
}

#[test]
fn every_algorithm_that_we_take_verifies() {
    for (algorithm, kid) in [("RS256", "rsa"), ("PS256", "rsa"), ("ES256", "p256"), ("EdDSA", "ed")] {
        let header = json!({"alg": algorithm, "kid": kid, "typ": "JWT"});
        let token = SIGNER.token(algorithm, &header, &claims());
        let found = verify(&token, &keys(), &EXPECTED).unwrap();
        assert_eq!((found.subject(), found.verified_email()), ("user-1", Some("a@example.org")), "{algorithm}");

        // One bit anywhere in what is signed, or in the signature.
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[9] ^= 1;
        let wrong = verify(&format!("{message}.{}", encode(bytes)), &keys(), &EXPECTED);
        assert_eq!(wrong, Err(Flaw::Signature), "{algorithm}");
        let (head, _) = message.split_once('.').unwrap();
        let other = with("sub", json!("somebody else")).to_string();
        let wrong = verify(&format!("{head}.{}.{signature}", encode(other)), &keys(), &EXPECTED);
        assert_eq!(wrong, Err(Flaw::Signature), "{algorithm}");
    }
}

#[test]
fn unsigned_and_symmetric_tokens_do_not_exist() {
    for name in ["none", "None", "NONE", "", "HS256", "RS1", "RS384", "ES512"] {
        for kid in ["rsa", "p256", "ed"] {
            let algorithm = if name == "HS256" { "HS256" } else { "none" };
            let result = judged(algorithm, &json!({"alg": name, "kid": kid}), &claims());
            assert_eq!(result, Err(Flaw::Algorithm), "{name} {kid}");
        }
    }
    // A set with a symmetric key in it gives nothing to verify by.
    let set = json!({"keys": [{"kty": "oct", "kid": "s", "k": encode("secret"), "alg": "HS256"}]});
    assert!(Keys::parse(set.to_string().as_bytes()).unwrap().0.is_empty());
}

#[test]
fn the_key_is_the_one_that_is_named_and_fits() {
    // Signed by one key, named after another.
    for (algorithm, kid, flaw) in [
        ("RS256", "p256", Flaw::Algorithm),
        ("ES256", "rsa", Flaw::Algorithm),
        ("EdDSA", "rsa", Flaw::Algorithm),
        ("RS256", "RSA", Flaw::UnknownKey),
        ("RS256", "", Flaw::UnknownKey),
        ("RS256", "../rsa", Flaw::UnknownKey),
    ] {
        assert_eq!(
            judged(algorithm, &json!({"alg": algorithm, "kid": kid}), &claims()),
            Err(flaw),
            "{algorithm} {kid}"
        );
    }
    // Announced by one algorithm, signed by another.
    assert_eq!(judged("PS256", &json!({"alg": "RS256", "kid": "rsa"}), &claims()), Err(Flaw::Signature));
    // Without a name only a set of one key will do.
    let header = json!({"alg": "ES256"});
    assert_eq!(judged("ES256", &header, &claims()), Err(Flaw::UnknownKey));
    let one = json!({"keys": [SIGNER.jwks()["keys"][1]]});
    let one = Keys::parse(one.to_string().as_bytes()).unwrap();
    assert!(verify(&SIGNER.token("ES256", &header, &claims()), &one, &EXPECTED).is_ok());
    // A key that another issuer has under the same name.
    let stranger = Signer::new();
    let token = stranger.token("RS256", &json!({"alg": "RS256", "kid": "rsa"}), &claims());
    assert_eq!(verify(&token, &keys(), &EXPECTED), Err(Flaw::Signature));
    // A key that the token brings along is not looked at.
    let brought =
        json!({"alg": "RS256", "kid": "rsa", "jwk": stranger.jwks()["keys"][0], "jku": "https://evil.example"});
    assert_eq!(verify(&stranger.token("RS256", &brought, &claims()), &keys(), &EXPECTED), Err(Flaw::Signature));
}

#[test]
fn keys_that_are_not_for_this_are_left_out() {
    let good = &SIGNER.jwks()["keys"][0];
    let changed = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        Keys::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap().0.len()
    };
    assert_eq!(changed("use", json!("enc")), 0);
    assert_eq!(changed("key_ops", json!(["sign"])), 0);
    assert_eq!(changed("alg", json!("RSA-OAEP")), 0);
    assert_eq!(changed("kty", json!("EC")), 0);
    assert_eq!(changed("n", json!("not base64!")), 0);
    assert_eq!(changed("key_ops", json!(["verify"])), 1);
    // A zero before the modulus changes nothing.
    let n = URL_SAFE_NO_PAD.decode(good["n"].as_str().unwrap()).unwrap();
    let mut padded = good.clone();
    padded["n"] = json!(encode([&[0], &n[..]].concat()));
    let padded = Keys::parse(json!({"keys": [padded]}).to_string().as_bytes()).unwrap();
    let token = SIGNER.token("RS256", &json!({"alg": "RS256", "kid": "rsa"}), &claims());
    assert!(verify(&token, &padded, &EXPECTED).is_ok());
    // One damaged entry does not spoil the set.
    let mixed = json!({"keys": [7, {"kty": "?"}, good]});
    assert_eq!(Keys::parse(mixed.to_string().as_bytes()).unwrap().0.len(), 1);
    assert!(Keys::parse(b"{}").is_none() && Keys::parse(b"<html>").is_none());
}

#[test]
fn rsa_keys_below_2048_bits_do_not_verify() {
    let n = [&[0xc0; 127][..], &[1]].concat();
    let set = json!({"keys": [{"kty": "RSA", "kid": "weak", "n": encode(n), "e": "AQAB"}]});
    let weak = Keys::parse(set.to_string().as_bytes()).unwrap();
    let token = SIGNER.token("RS256", &json!({"alg": "RS256", "kid": "weak"}), &claims());
    assert_eq!(verify(&token, &weak, &EXPECTED), Err(Flaw::Signature));
}

#[test]
fn claims_have_to_be_those_of_this_login() {
    for (name, value, flaw) in [
        ("iss", json!("https://id.example/"), Flaw::Issuer),
        ("iss", json!("https://evil.example"), Flaw::Issuer),
        ("iss", Value::Null, Flaw::Issuer),
        ("aud", json!("other"), Flaw::Audience),
        ("aud", json!([]), Flaw::Audience),
        ("aud", json!(["other"]), Flaw::Audience),
        ("aud", json!(["flow", "other"]), Flaw::Audience),
        ("aud", Value::Null, Flaw::Audience),
        ("azp", json!("other"), Flaw::Audience),
        ("azp", json!(7), Flaw::Audience),
        ("exp", json!(NOW - 120), Flaw::Expired),
        ("exp", json!("tomorrow"), Flaw::Expired),
        ("exp", Value::Null, Flaw::Expired),
        ("iat", json!(NOW + 121), Flaw::Early),
        ("iat", Value::Null, Flaw::Early),
        ("nbf", json!(NOW + 121), Flaw::Early),
        ("nonce", json!("another"), Flaw::Nonce),
        ("nonce", json!(""), Flaw::Nonce),
        ("nonce", Value::Null, Flaw::Nonce),
        ("sub", json!(""), Flaw::Subject),
        ("sub", Value::Null, Flaw::Subject),
    ] {
        assert_eq!(claimed(&with(name, value.clone())), Err(flaw), "{name} {value}");
    }
    for (name, value) in [
        ("exp", json!(NOW - 119)),
        ("exp", json!(NOW as f64 + 0.5)),
        ("iat", json!(NOW + 120)),
        ("nbf", json!(NOW + 120)),
        ("aud", json!(["flow"])),
        ("azp", json!("flow")),
    ] {
        assert!(claimed(&with(name, value.clone())).is_ok(), "{name} {value}");
    }
    let mut several = with("aud", json!(["other", "flow"]));
    several["azp"] = json!("flow");
    assert!(claimed(&several).is_ok());
}

#[test]
fn what_is_no_token_is_refused() {
    let good = SIGNER.token("ES256", &json!({"alg": "ES256", "kid": "p256"}), &claims());
    for wrong in
        ["", ".", "..", "a.b.c", &good[1..], &format!("{good}="), &format!("{good}.{good}"), &format!(" {good}")]
    {
        assert_eq!(verify(wrong, &keys(), &EXPECTED), Err(Flaw::Form), "{wrong}");
    }
    assert_eq!(verify(&"a".repeat(TOKEN_BYTES_MAX + 1), &keys(), &EXPECTED), Err(Flaw::Form));
    let critical = json!({"alg": "ES256", "kid": "p256", "crit": ["exp"]});
    assert_eq!(judged("ES256", &critical, &claims()), Err(Flaw::Form));
    // The second `alg` must not be able to hide behind the first.
    let twice = format!("{}.{}.", encode(r#"{"alg":"ES256","alg":"none","kid":"p256"}"#), encode(claims().to_string()));
    assert_eq!(verify(&twice, &keys(), &EXPECTED), Err(Flaw::Form));
}

#[test]
fn addresses_count_only_when_verified() {
    for (flag, counts) in
        [(json!(true), true), (json!("true"), true), (json!(false), false), (json!(1), false), (Value::Null, false)]
    {
        let claims = claimed(&with("email_verified", flag)).unwrap();
        assert_eq!(claims.verified_email().is_some(), counts);
    }
}

#[test]
fn claims_are_found_by_name_and_by_path() {
    let mut claims = claims();
    claims["groups"] = json!(["ops", 7]);
    claims["realm_access"] = json!({"roles": ["admin"]});
    claims["https://example.org/role"] = json!("owner");
    let claims = claimed(&claims).unwrap();
    assert!(claims.has("groups", "ops") && !claims.has("groups", "dev") && !claims.has("groups", "7"));
    assert!(claims.has("realm_access.roles", "admin") && !claims.has("realm_access", "admin"));
    assert!(claims.has("https://example.org/role", "owner"));
    assert!(!claims.has("", "") && !claims.has("none.of.these", "x"));
}
