//! Runs every dialect vector of `tests/vectors/dialects` through the codecs.
//!
//! The rules of running and comparing are those of the README beside the vectors; `normal.rs` carries the comparison out.
//! One test per vector, so that `cargo nextest run -p flow-router-codecs anthropic` runs what concerns one dialect.

#![allow(clippy::unwrap_used)]

mod kinds;
mod meta;
mod normal;

macro_rules! vectors {
    ($($name:ident = $text:literal,)*) => {
        mod vectors {
            $(#[test]
            fn $name() {
                super::kinds::run($text);
            })*
        }

        /// Every vector in the folder has a test.
        #[test]
        fn all_vectors_are_listed() {
            let listed: std::collections::BTreeSet<&str> = [$($text),*].into();
            let found = meta::names();
            assert_eq!(listed.into_iter().map(str::to_owned).collect::<Vec<_>>(), found);
        }
    };
}

vectors! {
    collapse_chat = "collapse-chat",
    collapse_responses_gap = "collapse-responses-gap",
    patch_chat_fix_id = "patch-chat-fix-id",
    patch_chat_model_alias = "patch-chat-model-alias",
    raw_anthropic_passthrough = "raw-anthropic-passthrough",
    req_anthropic_chat_basic = "req-anthropic-chat-basic",
    req_anthropic_chat_thinking_echo = "req-anthropic-chat-thinking-echo",
    req_anthropic_chat_tools = "req-anthropic-chat-tools",
    req_anthropic_gemini = "req-anthropic-gemini",
    req_anthropic_openai_cache_system = "req-anthropic-openai-cache-system",
    req_anthropic_responses = "req-anthropic-responses",
    req_chat_anthropic_adaptive = "req-chat-anthropic-adaptive",
    req_chat_anthropic_audio_unsupported = "req-chat-anthropic-audio-unsupported",
    req_chat_anthropic_basic = "req-chat-anthropic-basic",
    req_chat_anthropic_duplicate_ids = "req-chat-anthropic-duplicate-ids",
    req_chat_anthropic_logprobs = "req-chat-anthropic-logprobs",
    req_chat_anthropic_media = "req-chat-anthropic-media",
    req_chat_anthropic_missing_result = "req-chat-anthropic-missing-result",
    req_chat_anthropic_reasoning = "req-chat-anthropic-reasoning",
    req_chat_anthropic_tools_history = "req-chat-anthropic-tools-history",
    req_chat_gemini_basic = "req-chat-gemini-basic",
    req_chat_gemini_json_with_tools = "req-chat-gemini-json-with-tools",
    req_chat_gemini_logprobs = "req-chat-gemini-logprobs",
    req_chat_gemini_tool_names = "req-chat-gemini-tool-names",
    req_chat_gemini_tools = "req-chat-gemini-tools",
    req_chat_ollama = "req-chat-ollama",
    req_chat_ollama_logprobs = "req-chat-ollama-logprobs",
    req_chat_responses = "req-chat-responses",
    req_chat_responses_logprobs = "req-chat-responses-logprobs",
    req_gemini_anthropic_signature = "req-gemini-anthropic-signature",
    req_gemini_chat_logprobs = "req-gemini-chat-logprobs",
    req_gemini_chat_tools = "req-gemini-chat-tools",
    req_gemini_ollama_logprobs = "req-gemini-ollama-logprobs",
    req_gemini_responses_logprobs = "req-gemini-responses-logprobs",
    req_ollama_chat = "req-ollama-chat",
    req_ollama_chat_logprobs = "req-ollama-chat-logprobs",
    req_ollama_gemini_logprobs = "req-ollama-gemini-logprobs",
    req_ollama_generate_chat = "req-ollama-generate-chat",
    req_ollama_responses_logprobs = "req-ollama-responses-logprobs",
    req_responses_anthropic = "req-responses-anthropic",
    req_responses_chat = "req-responses-chat",
    req_responses_chat_logprobs = "req-responses-chat-logprobs",
    req_responses_chat_namespace = "req-responses-chat-namespace",
    req_responses_gemini_logprobs = "req-responses-gemini-logprobs",
    req_responses_ollama_logprobs = "req-responses-ollama-logprobs",
    resp_anthropic_chat = "resp-anthropic-chat",
    resp_chat_anthropic = "resp-chat-anthropic",
    resp_chat_gemini = "resp-chat-gemini",
    resp_chat_gemini_logprobs = "resp-chat-gemini-logprobs",
    resp_chat_ollama_logprobs = "resp-chat-ollama-logprobs",
    resp_chat_responses_length = "resp-chat-responses-length",
    resp_chat_responses_logprobs = "resp-chat-responses-logprobs",
    resp_gemini_chat_logprobs = "resp-gemini-chat-logprobs",
    resp_gemini_ollama_logprobs = "resp-gemini-ollama-logprobs",
    resp_gemini_responses_logprobs = "resp-gemini-responses-logprobs",
    resp_ollama_chat_logprobs = "resp-ollama-chat-logprobs",
    resp_ollama_gemini_logprobs = "resp-ollama-gemini-logprobs",
    resp_ollama_responses_logprobs = "resp-ollama-responses-logprobs",
    resp_responses_anthropic = "resp-responses-anthropic",
    resp_responses_chat_logprobs = "resp-responses-chat-logprobs",
    resp_responses_gemini_logprobs = "resp-responses-gemini-logprobs",
    resp_responses_ollama_logprobs = "resp-responses-ollama-logprobs",
    stream_anthropic_chat_error_midstream = "stream-anthropic-chat-error-midstream",
    stream_anthropic_chat_parallel_tools = "stream-anthropic-chat-parallel-tools",
    stream_anthropic_chat_redacted_servertool = "stream-anthropic-chat-redacted-servertool",
    stream_anthropic_chat_refusal = "stream-anthropic-chat-refusal",
    stream_anthropic_chat_text = "stream-anthropic-chat-text",
    stream_anthropic_chat_thinking_tool = "stream-anthropic-chat-thinking-tool",
    stream_anthropic_chat_unicode_bytes = "stream-anthropic-chat-unicode-bytes",
    stream_anthropic_gemini_tool = "stream-anthropic-gemini-tool",
    stream_anthropic_responses_maxtokens = "stream-anthropic-responses-maxtokens",
    stream_anthropic_responses_thinking_tool = "stream-anthropic-responses-thinking-tool",
    stream_chat_anthropic_combined_last = "stream-chat-anthropic-combined-last",
    stream_chat_anthropic_error = "stream-chat-anthropic-error",
    stream_chat_anthropic_late_id = "stream-chat-anthropic-late-id",
    stream_chat_anthropic_logprobs = "stream-chat-anthropic-logprobs",
    stream_chat_anthropic_parallel_interleaved = "stream-chat-anthropic-parallel-interleaved",
    stream_chat_anthropic_reasoning = "stream-chat-anthropic-reasoning",
    stream_chat_anthropic_refusal = "stream-chat-anthropic-refusal",
    stream_chat_anthropic_reused_id = "stream-chat-anthropic-reused-id",
    stream_chat_anthropic_stop_with_tools = "stream-chat-anthropic-stop-with-tools",
    stream_chat_anthropic_text = "stream-chat-anthropic-text",
    stream_chat_anthropic_tool = "stream-chat-anthropic-tool",
    stream_chat_anthropic_truncated = "stream-chat-anthropic-truncated",
    stream_chat_gemini_error = "stream-chat-gemini-error",
    stream_chat_gemini_logprobs = "stream-chat-gemini-logprobs",
    stream_chat_gemini_text_tool = "stream-chat-gemini-text-tool",
    stream_chat_ollama_generate = "stream-chat-ollama-generate",
    stream_chat_ollama_logprobs = "stream-chat-ollama-logprobs",
    stream_chat_ollama_text_thinking = "stream-chat-ollama-text-thinking",
    stream_chat_ollama_tools = "stream-chat-ollama-tools",
    stream_chat_responses_custom_tool = "stream-chat-responses-custom-tool",
    stream_chat_responses_length = "stream-chat-responses-length",
    stream_chat_responses_logprobs = "stream-chat-responses-logprobs",
    stream_chat_responses_namespace = "stream-chat-responses-namespace",
    stream_chat_responses_reasoning_tools = "stream-chat-responses-reasoning-tools",
    stream_chat_responses_text = "stream-chat-responses-text",
    stream_gemini_anthropic_malformed = "stream-gemini-anthropic-malformed",
    stream_gemini_anthropic_signature_tool = "stream-gemini-anthropic-signature-tool",
    stream_gemini_chat_blocked_prompt = "stream-gemini-chat-blocked-prompt",
    stream_gemini_chat_logprobs = "stream-gemini-chat-logprobs",
    stream_gemini_chat_multiline_data = "stream-gemini-chat-multiline-data",
    stream_gemini_chat_parallel_signature = "stream-gemini-chat-parallel-signature",
    stream_gemini_chat_safety = "stream-gemini-chat-safety",
    stream_gemini_chat_thought_usage = "stream-gemini-chat-thought-usage",
    stream_gemini_chat_tool_names = "stream-gemini-chat-tool-names",
    stream_gemini_ollama_logprobs = "stream-gemini-ollama-logprobs",
    stream_gemini_responses_logprobs = "stream-gemini-responses-logprobs",
    stream_gemini_responses_thought_tool = "stream-gemini-responses-thought-tool",
    stream_ollama_anthropic_error = "stream-ollama-anthropic-error",
    stream_ollama_chat_logprobs = "stream-ollama-chat-logprobs",
    stream_ollama_chat_thinking_tools = "stream-ollama-chat-thinking-tools",
    stream_ollama_gemini_logprobs = "stream-ollama-gemini-logprobs",
    stream_ollama_responses_logprobs = "stream-ollama-responses-logprobs",
    stream_responses_anthropic_done_only = "stream-responses-anthropic-done-only",
    stream_responses_anthropic_reasoning_parallel = "stream-responses-anthropic-reasoning-parallel",
    stream_responses_chat_failed = "stream-responses-chat-failed",
    stream_responses_chat_logprobs = "stream-responses-chat-logprobs",
    stream_responses_chat_text_tool = "stream-responses-chat-text-tool",
    stream_responses_gemini_logprobs = "stream-responses-gemini-logprobs",
    stream_responses_ollama_logprobs = "stream-responses-ollama-logprobs",
    transform_deepseek_alias = "transform-deepseek-alias",
    transform_reasoning_placeholder = "transform-reasoning-placeholder",
    transform_tool_dedupe = "transform-tool-dedupe",
    transform_usage_pad = "transform-usage-pad",
}
