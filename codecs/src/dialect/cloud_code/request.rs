//! The envelope of a request.

use crate::{
    dialect::{Dialect, Transcript, expect},
    hub::ApiError,
    json::{Raw, Text, Writer},
};

/// Members of the inner request that say who and where the client is. The service keeps its conversations by them; the
/// public API does not know them, and no provider needs to.
const OWN: [&str; 2] = ["sessionId", "labels"];

/// Takes the inner request out of its envelope. Its bytes stay as they are, but for the members in `OWN`.
///
/// # Errors
/// It is no such envelope: `request` and `model` are wanted.
pub fn transcribe(body: Raw<'_>) -> Result<Transcript, ApiError> {
    let body = expect::object(body, "the body")?;
    let inner = body.get("request").ok_or_else(|| expect::missing("request"))?;
    let inner = expect::object(inner, "request")?;
    let model = expect::text(body.get("model").ok_or_else(|| expect::missing("model"))?, "model")?.plain().into_owned();
    let model = model.strip_prefix("models/").unwrap_or(&model).to_owned();
    if model.is_empty() {
        return Err(ApiError::invalid("model", "model must not be empty"));
    }
    let mut out = Vec::with_capacity(inner.as_bytes().len());
    let mut w = Writer::new(&mut out);
    w.begin_object();
    for (key, value) in inner.members() {
        if !OWN.iter().any(|own| key.is(own)) {
            w.key_text(key).raw(value);
        }
    }
    w.end_object();
    let conversation = inner.get_text("sessionId").map(|id| id.plain().into_owned());
    Ok(Transcript { dialect: Dialect::Gemini, body: out, model, conversation })
}

/// What the client wants an answer for: `agent`, `checkpoint` (titles, summaries), `tab`, `tab_jump` (completion while one
/// types). `None` where it does not say.
pub fn purpose(body: Raw<'_>) -> Option<Text<'_>> {
    body.get_text("requestType")
}
