//! Token counts in disjoint buckets.

/// Tokens of one exchange. The four first buckets never overlap, so that their sum is what was processed; whatever a
/// vendor's convention is (cached tokens inside or beside the input), its decoder untangles it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to a cache.
    pub uncached: u64,
    /// Input tokens read from a prompt cache.
    pub cache_read: u64,
    /// Input tokens written to a prompt cache (all lifetimes).
    pub cache_write: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Reasoning tokens, a part of `output`.
    pub reasoning: u64,
    /// The part of `cache_write` with a lifetime of one hour (Anthropic bills it differently).
    pub cache_write_1h: u64,
    /// The part of `uncached` that is audio. Vendors price it apart from text; zero where none is reported.
    pub audio_in: u64,
    /// The part of `cache_read` that is audio.
    pub audio_cached: u64,
    /// The part of `output` that is audio.
    pub audio_out: u64,
    /// The part of `uncached` that is images.
    pub image_in: u64,
    /// The part of `output` that is images.
    pub image_out: u64,
}

impl Usage {
    /// All input tokens.
    pub fn input(&self) -> u64 {
        self.uncached.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// Input and output.
    pub fn total(&self) -> u64 {
        self.input().saturating_add(self.output)
    }

    /// Whether any counter is above zero: decides between the upstream's numbers and an estimate.
    pub fn is_known(&self) -> bool {
        self.input() > 0 || self.output > 0
    }
}
