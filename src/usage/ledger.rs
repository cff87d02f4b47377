//! Tokens to money, in integers.

use codecs::hub::Usage;

use super::pricing::Price;

/// Pico-USD in a nano-USD.
const PICO_PER_NANO: u128 = 1_000;

/// What `usage` costs at `price`, in nano-USD, rounded half up once.
///
/// The buckets of [`Usage`] do not overlap, so that every token is paid once: cached tokens at the cache's price,
/// written ones by their lifetime, sound and pictures at their own, reasoning at its own where it has one. A rate that is
/// not listed falls back to the one that it is a kind of. The size of the whole input chooses the tier, for all buckets.
pub fn cost(price: &Price, usage: &Usage) -> i64 {
    let rates = price.rates_for(usage.input());
    let text_in = usage.uncached.saturating_sub(usage.audio_in).saturating_sub(usage.image_in);
    let text_cached = usage.cache_read.saturating_sub(usage.audio_cached);
    let written_1h = usage.cache_write_1h.min(usage.cache_write);
    let written = usage.cache_write - written_1h;
    let media_out = usage.audio_out.saturating_add(usage.image_out).min(usage.output);
    let reasoning = usage.reasoning.min(usage.output - media_out);
    let text_out = usage.output - media_out - reasoning;
    let cache_read = rates.cache_read.unwrap_or(rates.input);
    let cache_write = rates.cache_write.unwrap_or(rates.input);
    let bill = [
        (text_in, rates.input),
        (usage.audio_in.min(usage.uncached), rates.audio_in.unwrap_or(rates.input)),
        (usage.image_in.min(usage.uncached), rates.image_in.unwrap_or(rates.input)),
        (text_cached, cache_read),
        (usage.audio_cached.min(usage.cache_read), rates.audio_cached.unwrap_or(cache_read)),
        (written, cache_write),
        (written_1h, rates.cache_write_1h.unwrap_or(cache_write)),
        (text_out, rates.output),
        (reasoning, rates.reasoning.unwrap_or(rates.output)),
        (usage.audio_out.min(media_out), rates.audio_out.unwrap_or(rates.output)),
        (media_out.saturating_sub(usage.audio_out), rates.image_out.unwrap_or(rates.output)),
    ];
    // 64 bits times 64 bits fit in 128, and eleven of them nearly always: only made-up numbers saturate.
    let pico = bill
        .iter()
        .fold(0u128, |sum, (tokens, rate)| sum.saturating_add(u128::from(*tokens).saturating_mul(u128::from(*rate))));
    i64::try_from((pico.saturating_add(PICO_PER_NANO / 2)) / PICO_PER_NANO).unwrap_or(i64::MAX)
}

/// Nano-USD as USD, for the edges where people read it.
pub fn usd(nano: i64) -> f64 {
    nano as f64 / 1e9
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codecs::{
        dialect::{Context, Dialect},
        json::Raw,
        translate::observe_reply,
    };

    use super::{
        super::pricing::{Buyer, RateCard, Rates, Tier},
        *,
    };

    /// What the codec of `dialect` reads in an answer.
    fn read(dialect: Dialect, reply: &str) -> Usage {
        let observed = observe_reply(dialect, Raw::parse_str(reply).unwrap(), &Context::default()).unwrap();
        assert!(!observed.estimated, "{reply}");
        observed.usage.unwrap()
    }

    fn listed(vendor: &str, model: &str) -> Price {
        let buyer = Buyer { vendor: Some(vendor), ..Buyer::remote("mine") };
        RateCard::default().find(&buyer, model).unwrap().price
    }

    /// Every vendor's words for its counts, against the price list; the sums are done by hand.
    #[test]
    fn the_five_conventions_cost_what_the_vendors_bill() {
        // gpt-5: 1.25 in, 0.125 cached, 10 out. Cached tokens are inside prompt_tokens, reasoning inside the output.
        let chat = read(
            Dialect::OpenAiChat,
            r#"{"id":"c","object":"chat.completion","model":"gpt-5","choices":[{"index":0,"message":{"role":"assistant",
                "content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10000,"completion_tokens":1000,
                "total_tokens":11000,"prompt_tokens_details":{"cached_tokens":8000},
                "completion_tokens_details":{"reasoning_tokens":600}}}"#,
        );
        // 2,000 × 1.25 + 8,000 × 0.125 + 1,000 × 10 = 2,500 + 1,000 + 10,000 micro-USD.
        assert_eq!(cost(&listed("openai", "gpt-5"), &chat), 13_500_000);

        let responses = read(
            Dialect::OpenAiResponses,
            r#"{"id":"r","object":"response","status":"completed","model":"gpt-5","output":[{"type":"message","id":"m",
                "role":"assistant","status":"completed","content":[{"type":"output_text","text":"x","annotations":[]}]}],
                "usage":{"input_tokens":10000,"input_tokens_details":{"cached_tokens":8000},"output_tokens":1000,
                "output_tokens_details":{"reasoning_tokens":600},"total_tokens":11000}}"#,
        );
        assert_eq!(cost(&listed("openai", "gpt-5"), &responses), 13_500_000);

        // claude-sonnet-4-5: 3 in, 0.30 cached, 3.75 written for 5 minutes, 6 for an hour, 15 out; caches are beside
        // input_tokens, and the hour's part is inside the written sum.
        let anthropic = read(
            Dialect::Anthropic,
            r#"{"id":"m","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text",
                "text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":1000,"cache_read_input_tokens":10000,
                "cache_creation_input_tokens":3000,"cache_creation":{"ephemeral_5m_input_tokens":2000,
                "ephemeral_1h_input_tokens":1000},"output_tokens":500}}"#,
        );
        // 3,000 + 3,000 + 7,500 + 6,000 + 7,500 micro-USD.
        assert_eq!(cost(&listed("anthropic", "claude-sonnet-4-5"), &anthropic), 27_000_000);

        // gemini-2.5-flash: 0.30 in, 1.00 for sound, 0.03 cached, 0.10 for cached sound, 2.50 out. The prompt includes
        // the cached part and the details overlap both; the candidates exclude the thoughts.
        let gemini = read(
            Dialect::Gemini,
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"x"}]},"finishReason":"STOP","index":0}],
                "usageMetadata":{"promptTokenCount":10000,"cachedContentTokenCount":4000,"candidatesTokenCount":200,
                "thoughtsTokenCount":800,"totalTokenCount":11000,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":7000},{"modality":"AUDIO","tokenCount":3000}],
                "cacheTokensDetails":[{"modality":"TEXT","tokenCount":3000},{"modality":"AUDIO","tokenCount":1000}]}}"#,
        );
        // Fresh: 4,000 × 0.30 + 2,000 × 1.00; cached: 3,000 × 0.03 + 1,000 × 0.10; out: 1,000 × 2.50.
        assert_eq!(cost(&listed("gemini", "gemini-2.5-flash"), &gemini), (1_200 + 2_000 + 90 + 100 + 2_500) * 1_000);

        // Ollama counts what it evaluated. It has no list price: the user's, here 1 and 2 USD per million.
        let ollama = read(
            Dialect::Ollama,
            r#"{"model":"llama3","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"x"},
                "done":true,"done_reason":"stop","prompt_eval_count":1000,"eval_count":250}"#,
        );
        assert_eq!(cost(&Price::plain(1_000_000, 2_000_000), &ollama), 1_500_000);
    }

    #[test]
    fn pictures_and_sound_have_prices_of_their_own() {
        // gemini-2.5-flash-image: 0.30 in, 2.50 for text out, 30 for a picture's tokens.
        let drawn = read(
            Dialect::Gemini,
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"x"}]},"finishReason":"STOP","index":0}],
                "usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":1300,"totalTokenCount":1400,
                "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]}}"#,
        );
        assert_eq!(cost(&listed("gemini", "gemini-2.5-flash-image"), &drawn), (30 + 38_700 + 25) * 1_000);

        let rates =
            Rates { audio_in: Some(40_000_000), audio_out: Some(80_000_000), ..Rates::plain(2_500_000, 10_000_000) };
        let spoken = read(
            Dialect::OpenAiChat,
            r#"{"id":"c","object":"chat.completion","model":"a","choices":[{"index":0,"message":{"role":"assistant",
                "content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":150,"completion_tokens":60,
                "prompt_tokens_details":{"audio_tokens":100},"completion_tokens_details":{"audio_tokens":40}}}"#,
        );
        // 50 × 2.5 + 100 × 40 + 20 × 10 + 40 × 80.
        assert_eq!(cost(&Price { rates, ..Price::default() }, &spoken), (125 + 4_000 + 200 + 3_200) * 1_000);
    }

    #[test]
    fn the_whole_input_chooses_the_tier() {
        // gemini-2.5-pro: 1.25 / 10, cached 0.125; above 200,000 tokens 2.50 / 15, cached 0.25.
        let price = listed("gemini", "gemini-2.5-pro");
        let at = Usage { uncached: 50_000, cache_read: 150_000, output: 1_000, ..Usage::default() };
        assert_eq!(cost(&price, &at), (62_500 + 18_750 + 10_000) * 1_000);
        let above = Usage { cache_read: 150_001, ..at };
        assert_eq!(cost(&price, &above), (125_000 + 15_000) * 1_000 + 37_500_250);
        let tiers =
            vec![Tier { above: 10, rates: Rates::plain(2_000, 0) }, Tier { above: 20, rates: Rates::plain(3_000, 0) }];
        let steps = Price { rates: Rates::plain(1_000, 0), tiers, ..Price::default() };
        let costs = [10, 11, 20, 21].map(|uncached| cost(&steps, &Usage { uncached, ..Usage::default() }));
        assert_eq!(costs, [10, 22, 40, 63]);
    }

    #[test]
    fn what_has_no_rate_of_its_own_costs_what_it_is_a_kind_of() {
        let usage = Usage {
            uncached: 10,
            cache_read: 10,
            cache_write: 10,
            cache_write_1h: 4,
            output: 10,
            reasoning: 5,
            audio_in: 2,
            audio_cached: 2,
            audio_out: 1,
            image_in: 2,
            image_out: 1,
        };
        // 30 in at 1, 10 out at 2.
        assert_eq!(cost(&Price::plain(1_000, 2_000), &usage), 50);
        let apart = Rates { reasoning: Some(5_000), ..Rates::plain(1_000, 2_000) };
        assert_eq!(cost(&Price { rates: apart, ..Price::default() }, &usage), 50 + 5 * 3);
    }

    #[test]
    fn rounding_happens_once_and_nothing_overflows() {
        // 0.4 nano-USD each: one is nothing, two are one, and a thousand are 400.
        let price = Price::plain(400, 0);
        let costs = [1, 2, 1_000].map(|uncached| cost(&price, &Usage { uncached, ..Usage::default() }));
        assert_eq!(costs, [0, 1, 400]);
        let most = Usage { uncached: u64::MAX, output: u64::MAX, ..Usage::default() };
        assert_eq!(cost(&Price::plain(u64::MAX, u64::MAX), &most), i64::MAX);
        // Parts that are larger than their whole are a vendor's mistake: nobody pays more than the whole.
        let odd = Usage { output: 10, reasoning: 99, audio_out: 50, image_out: 50, ..Usage::default() };
        assert_eq!(cost(&Price::plain(0, 1_000), &odd), 10);
        assert!((usd(1_500_000_000) - 1.5).abs() < f64::EPSILON);
    }
}
