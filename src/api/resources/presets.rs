//! Known services, as templates for providers.

use serde_json::{Value, json};

use crate::{
    api::{
        Problem, Reply, Request,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, list_of},
        route::{Content, ROUTE, Route},
        schema::{Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, needed},
    },
    settings::presets::{PRESETS, Preset},
};

const PRESET: Object = Object {
    name: "Preset",
    members: &[
        needed("id", TEXT, "what a provider names as `provider`"),
        needed("name", TEXT, "for people"),
        needed("provider", TEXT, "the same as id"),
        needed("group", Schema::Word(&["api_key", "local"]), ""),
        needed("authType", Schema::Word(&["api_key", "none"]), ""),
        needed("format", TEXT, "its dialect"),
        needed("baseUrl", TEXT, ""),
        needed("models", TEXTS, "names and patterns that are surely its own"),
        needed("needsApiKey", Schema::Bool, ""),
        needed("apiKeyEnv", TEXTS, "variables of the environment in which its credential is looked for"),
        needed("apiKeyUrl", TEXT_OR_NULL, "where people get a credential"),
    ],
};
const LIST: Schema = list_of!("PresetList", Schema::Object(&PRESET));

pub(in crate::api) const ROUTES: &[Route] = &[Route {
    path: "/api/presets",
    operation: "listPresets",
    summary: "Known services: templates for providers",
    tag: "providers",
    query: &[Q_PARAM, LIMIT_PARAM, CURSOR_PARAM],
    replies: &[(200, Content::Json(LIST))],
    handler: |_, request| Box::pin(list(request)),
    ..ROUTE
}];

/// What people call a service, and where they get a credential.
const NAMES: &[(&str, &str, Option<&str>)] = &[
    ("openai", "OpenAI", Some("https://platform.openai.com/api-keys")),
    ("openai-responses", "OpenAI (Responses)", Some("https://platform.openai.com/api-keys")),
    ("anthropic", "Anthropic", Some("https://console.anthropic.com/settings/keys")),
    ("gemini", "Google Gemini", Some("https://aistudio.google.com/apikey")),
    ("openrouter", "OpenRouter", Some("https://openrouter.ai/keys")),
    ("deepseek", "DeepSeek", Some("https://platform.deepseek.com/api_keys")),
    ("groq", "Groq", Some("https://console.groq.com/keys")),
    ("together", "Together AI", Some("https://api.together.xyz/settings/api-keys")),
    ("mistral", "Mistral", Some("https://console.mistral.ai/api-keys")),
    ("cohere", "Cohere", Some("https://dashboard.cohere.com/api-keys")),
    ("cerebras", "Cerebras", Some("https://cloud.cerebras.ai")),
    ("sambanova", "SambaNova", Some("https://cloud.sambanova.ai/apis")),
    ("hyperbolic", "Hyperbolic", Some("https://app.hyperbolic.xyz/settings")),
    ("fireworks", "Fireworks AI", Some("https://app.fireworks.ai/settings/users/api-keys")),
    ("deepinfra", "DeepInfra", Some("https://deepinfra.com/dash/api_keys")),
    ("novita", "Novita AI", Some("https://novita.ai/settings/key-management")),
    ("moonshot", "Moonshot AI", Some("https://platform.moonshot.ai/console/api-keys")),
    ("moonshot-cn", "Moonshot AI (China)", Some("https://platform.moonshot.cn/console/api-keys")),
    ("kimi-coding", "Kimi for Coding", None),
    ("zhipuai", "Zhipu AI", Some("https://open.bigmodel.cn/usercenter/apikeys")),
    ("glm", "GLM Coding (Z.ai)", Some("https://z.ai/manage-apikey/apikey-list")),
    ("glm-cn", "GLM Coding (China)", Some("https://open.bigmodel.cn/usercenter/apikeys")),
    ("minimax", "MiniMax", Some("https://platform.minimax.io")),
    ("minimax-cn", "MiniMax (China)", Some("https://platform.minimaxi.com")),
    ("qwen-cloud", "Alibaba Cloud Model Studio", Some("https://bailian.console.aliyun.com")),
    ("alicode", "Alibaba Coding Plan", None),
    ("alicode-intl", "Alibaba Coding Plan (international)", None),
    ("volcengine-ark", "Volcengine Ark", Some("https://console.volcengine.com/ark")),
    ("byteplus", "BytePlus ModelArk", None),
    ("perplexity", "Perplexity", Some("https://www.perplexity.ai/settings/api")),
    ("xai", "xAI", Some("https://console.x.ai")),
    ("nvidia", "NVIDIA NIM", Some("https://build.nvidia.com")),
    ("nebius", "Nebius", Some("https://studio.nebius.com")),
    ("siliconflow", "SiliconFlow", Some("https://cloud.siliconflow.cn/account/ak")),
    ("chutes", "Chutes", Some("https://chutes.ai/app/api")),
    ("ollama-cloud", "Ollama Cloud", Some("https://ollama.com/settings/keys")),
    ("huggingface", "Hugging Face", Some("https://huggingface.co/settings/tokens")),
    ("github-models", "GitHub Models", Some("https://github.com/settings/tokens")),
    ("opencode-zen", "OpenCode Zen", Some("https://opencode.ai/auth")),
    ("baseten", "Baseten", Some("https://app.baseten.co/settings/api_keys")),
    ("featherless", "Featherless", Some("https://featherless.ai/account/api-keys")),
    ("friendli", "Friendli", Some("https://friendli.ai/suite/setting/tokens")),
    ("inference-net", "Inference.net", None),
    ("ai21", "AI21", Some("https://studio.ai21.com/account/api-key")),
    ("upstage", "Upstage", Some("https://console.upstage.ai/api-keys")),
    ("vercel-gateway", "Vercel AI Gateway", Some("https://vercel.com/ai-gateway")),
    ("requesty", "Requesty", Some("https://app.requesty.ai/api-keys")),
    ("venice", "Venice", Some("https://venice.ai/settings/api")),
    ("nanogpt", "NanoGPT", Some("https://nano-gpt.com/api")),
    ("ollama", "Ollama", None),
    ("lmstudio", "LM Studio", None),
    ("vllm", "vLLM", None),
    ("litellm", "LiteLLM", None),
    ("llamacpp", "llama.cpp", None),
];

fn shown(preset: &Preset) -> Value {
    let (_, name, key_url) =
        NAMES.iter().find(|(id, ..)| *id == preset.id).copied().unwrap_or((preset.id, preset.id, None));
    let local = preset.base_url.starts_with("http://127.0.0.1");
    json!({
        "id": preset.id,
        "name": name,
        "provider": preset.id,
        "group": if local { "local" } else { "api_key" },
        "authType": if preset.keyless { "none" } else { "api_key" },
        "format": preset.dialect.name(),
        "baseUrl": preset.base_url,
        "models": preset.models,
        "needsApiKey": !preset.keyless,
        "apiKeyEnv": preset.env,
        "apiKeyUrl": key_url,
    })
}

async fn list(request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let wanted = |preset: &&Preset| {
        let name = NAMES.iter().find(|(id, ..)| *id == preset.id).map_or("", |(_, name, _)| *name);
        page::holds(request.query("q"), &[preset.id, name, preset.base_url])
    };
    let entries = PRESETS.iter().filter(wanted).map(|preset| (preset.id.to_owned(), shown(preset)));
    Ok(Reply::json(page.cut(entries.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_a_name_and_every_name_a_preset() {
        for preset in PRESETS {
            assert!(NAMES.iter().any(|(id, ..)| *id == preset.id), "{} has no name", preset.id);
            assert!(codecs::dialect::Dialect::ALL.contains(&preset.dialect));
        }
        for (id, ..) in NAMES {
            assert!(PRESETS.iter().any(|preset| preset.id == *id), "{id} is no preset");
        }
    }
}
