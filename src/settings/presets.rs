//! Known services: what a name implies. A row is a default; whatever the configuration says wins.

use codecs::dialect::{ChatFlavour, Dialect, Placeholder, ThinkingForm};

/// A known service.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Name in the configuration.
    pub id: &'static str,
    /// Wire language.
    pub dialect: Dialect,
    /// Address up to where the dialect's own path begins.
    pub base_url: &'static str,
    /// Variables that hold its key; the first that is set wins.
    pub env: &'static [&'static str],
    /// Patterns of models that are surely its own, so that a plain name finds it; `*` for local servers and brokers.
    pub models: &'static [&'static str],
    /// Whether it works without a key.
    pub keyless: bool,
    /// Chat: whose rules.
    pub flavour: ChatFlavour,
    /// Chat: how a wish for thinking is said.
    pub thinking: ThinkingForm,
    /// Chat: whether earlier reasoning goes back, and the placeholder for turns without any.
    pub reasoning: Reasoning,
    /// Chat: whether `cache_control` passes.
    pub cache_control: bool,
}

/// What a chat server wants to see of earlier reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasoning {
    /// Nothing.
    Hidden,
    /// `reasoning_content`, with a placeholder where there is none.
    Echo(Placeholder),
}

const CHAT: Preset = Preset {
    id: "",
    dialect: Dialect::OpenAiChat,
    base_url: "",
    env: &[],
    models: &[],
    keyless: false,
    flavour: ChatFlavour::Compat,
    thinking: ThinkingForm::Effort,
    reasoning: Reasoning::Hidden,
    cache_control: false,
};

const fn chat(id: &'static str, base_url: &'static str, env: &'static [&'static str]) -> Preset {
    Preset { id, base_url, env, ..CHAT }
}

const fn local(id: &'static str, base_url: &'static str) -> Preset {
    Preset { id, base_url, keyless: true, models: &["*"], ..CHAT }
}

const fn anthropic(id: &'static str, base_url: &'static str, env: &'static [&'static str]) -> Preset {
    Preset { id, base_url, env, dialect: Dialect::Anthropic, ..CHAT }
}

const ECHO_ALL: Reasoning = Reasoning::Echo(Placeholder::All);
const ECHO_TOOL: Reasoning = Reasoning::Echo(Placeholder::Tool);

/// All known services. Base URLs as the vendors document them.
pub const PRESETS: &[Preset] = &[
    Preset {
        flavour: ChatFlavour::OpenAi,
        models: &["gpt-*", "o1*", "o3*", "o4*", "chatgpt-*", "codex-*"],
        ..chat("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
    },
    Preset {
        dialect: Dialect::OpenAiResponses,
        flavour: ChatFlavour::OpenAi,
        ..chat("openai-responses", "https://api.openai.com/v1", &[])
    },
    Preset { models: &["claude-*"], ..anthropic("anthropic", "https://api.anthropic.com", &["ANTHROPIC_API_KEY"]) },
    Preset {
        dialect: Dialect::Gemini,
        models: &["gemini-*", "gemma-*"],
        ..chat("gemini", "https://generativelanguage.googleapis.com/v1beta", &["GEMINI_API_KEY", "GOOGLE_API_KEY"])
    },
    Preset {
        models: &["*"],
        cache_control: true,
        thinking: ThinkingForm::Reasoning,
        ..chat("openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"])
    },
    Preset {
        models: &["deepseek-*"],
        thinking: ThinkingForm::TypeEffort,
        reasoning: ECHO_ALL,
        ..chat("deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"])
    },
    chat("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    chat("together", "https://api.together.xyz/v1", &["TOGETHER_API_KEY"]),
    Preset {
        models: &["mistral-*", "codestral-*", "devstral-*", "magistral-*", "pixtral-*"],
        ..chat("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"])
    },
    Preset {
        models: &["command-*"],
        ..chat("cohere", "https://api.cohere.ai/compatibility/v1", &["COHERE_API_KEY", "CO_API_KEY"])
    },
    chat("cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"]),
    chat("sambanova", "https://api.sambanova.ai/v1", &["SAMBANOVA_API_KEY"]),
    chat("hyperbolic", "https://api.hyperbolic.xyz/v1", &["HYPERBOLIC_API_KEY"]),
    chat("fireworks", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"]),
    chat("deepinfra", "https://api.deepinfra.com/v1/openai", &["DEEPINFRA_API_KEY"]),
    chat("novita", "https://api.novita.ai/v3/openai", &["NOVITA_API_KEY"]),
    Preset {
        models: &["kimi-*", "moonshot-*"],
        thinking: ThinkingForm::Type,
        reasoning: ECHO_TOOL,
        ..chat("moonshot", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"])
    },
    Preset {
        thinking: ThinkingForm::Type,
        reasoning: ECHO_TOOL,
        ..chat("moonshot-cn", "https://api.moonshot.cn/v1", &[])
    },
    anthropic("kimi-coding", "https://api.kimi.com/coding", &["KIMI_API_KEY"]),
    Preset {
        models: &["glm-*"],
        thinking: ThinkingForm::Type,
        ..chat("zhipuai", "https://open.bigmodel.cn/api/paas/v4", &["ZHIPUAI_API_KEY"])
    },
    anthropic("glm", "https://api.z.ai/api/anthropic", &["ZAI_API_KEY"]),
    Preset { thinking: ThinkingForm::Type, ..chat("glm-cn", "https://open.bigmodel.cn/api/coding/paas/v4", &[]) },
    anthropic("minimax", "https://api.minimax.io/anthropic", &["MINIMAX_API_KEY"]),
    anthropic("minimax-cn", "https://api.minimaxi.com/anthropic", &[]),
    Preset {
        models: &["qwen*"],
        thinking: ThinkingForm::Enable,
        ..chat("qwen-cloud", "https://dashscope.aliyuncs.com/compatible-mode/v1", &["DASHSCOPE_API_KEY"])
    },
    Preset { thinking: ThinkingForm::Enable, ..chat("alicode", "https://coding.dashscope.aliyuncs.com/v1", &[]) },
    Preset {
        thinking: ThinkingForm::Enable,
        ..chat("alicode-intl", "https://coding-intl.dashscope.aliyuncs.com/v1", &[])
    },
    chat("volcengine-ark", "https://ark.cn-beijing.volces.com/api/coding/v3", &["ARK_API_KEY"]),
    chat("byteplus", "https://ark.ap-southeast.bytepluses.com/api/coding/v3", &[]),
    Preset { models: &["sonar*"], ..chat("perplexity", "https://api.perplexity.ai", &["PERPLEXITY_API_KEY"]) },
    Preset { models: &["grok-*"], ..chat("xai", "https://api.x.ai/v1", &["XAI_API_KEY"]) },
    chat("nvidia", "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"]),
    chat("nebius", "https://api.studio.nebius.ai/v1", &["NEBIUS_API_KEY"]),
    chat("siliconflow", "https://api.siliconflow.cn/v1", &["SILICONFLOW_API_KEY"]),
    chat("chutes", "https://llm.chutes.ai/v1", &["CHUTES_API_KEY"]),
    // Their tokens are for more than models, and may stand in the environment for something else.
    chat("huggingface", "https://router.huggingface.co/v1", &[]),
    chat("github-models", "https://models.github.ai/inference", &[]),
    chat("opencode-zen", "https://opencode.ai/zen/v1", &["OPENCODE_API_KEY"]),
    chat("baseten", "https://inference.baseten.co/v1", &["BASETEN_API_KEY"]),
    chat("featherless", "https://api.featherless.ai/v1", &["FEATHERLESS_API_KEY"]),
    chat("friendli", "https://api.friendli.ai/serverless/v1", &["FRIENDLI_TOKEN"]),
    chat("inference-net", "https://api.inference.net/v1", &[]),
    chat("ai21", "https://api.ai21.com/studio/v1", &["AI21_API_KEY"]),
    chat("upstage", "https://api.upstage.ai/v1", &["UPSTAGE_API_KEY"]),
    chat("vercel-gateway", "https://ai-gateway.vercel.sh/v1", &["AI_GATEWAY_API_KEY"]),
    chat("requesty", "https://router.requesty.ai/v1", &["REQUESTY_API_KEY"]),
    chat("venice", "https://api.venice.ai/api/v1", &["VENICE_API_KEY"]),
    chat("nanogpt", "https://nano-gpt.com/api/v1", &["NANOGPT_API_KEY"]),
    Preset { dialect: Dialect::Ollama, ..chat("ollama-cloud", "https://ollama.com", &["OLLAMA_API_KEY"]) },
    Preset { dialect: Dialect::Ollama, ..local("ollama", "http://127.0.0.1:11434") },
    local("lmstudio", "http://127.0.0.1:1234/v1"),
    local("vllm", "http://127.0.0.1:8000/v1"),
    local("litellm", "http://127.0.0.1:4000/v1"),
    local("llamacpp", "http://127.0.0.1:8080/v1"),
];

/// The preset of that name.
pub fn preset(id: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sound() {
        for (i, row) in PRESETS.iter().enumerate() {
            assert!(PRESETS[..i].iter().all(|other| other.id != row.id), "{} stands twice", row.id);
            assert!(!row.base_url.ends_with('/'), "{}", row.id);
            let loopback = row.base_url.starts_with("http://127.0.0.1:");
            assert!(row.base_url.starts_with("https://") != loopback, "{}", row.id);
            for variable in row.env {
                let users = PRESETS.iter().filter(|other| other.env.contains(variable)).count();
                assert_eq!(users, 1, "{variable} would add two providers");
            }
        }
    }
}
