#!/usr/bin/env python3
"""Makes `prices.tsv`, the built-in rate card, from the price list inside the `litellm` Python package.

For maintainers; the program itself downloads nothing and runs no Python.

    pip download --no-deps litellm -d /tmp/prices
    python3 src/usage/card/generate.py /tmp/prices/litellm-*.whl > src/usage/card/prices.tsv

Prices are facts; the collection is MIT licensed, see THIRD_PARTY.md beside this file.

One line per model: vendor, model, prices; separated by tabs. Prices are words of a letter and a number, in pico-USD per
token (1 USD per million tokens = 1,000,000); words behind `>N` hold for requests with more than N input tokens:

    p input   o output   r cache read   w cache write   h cache write for an hour   t reasoning
    a audio in   k cached audio   s audio out   i image in   d image out
    C context window   O largest answer (both in tokens)   D day of deprecation (YYYYMMDD)
"""

import json
import re
import sys
import zipfile
from decimal import Decimal

# Their word for a vendor: ours, which is the id of its preset where there is one.
VENDORS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "deepseek": "deepseek",
    "groq": "groq",
    "together_ai": "together",
    "mistral": "mistral",
    "codestral": "mistral",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "cerebras": "cerebras",
    "sambanova": "sambanova",
    "hyperbolic": "hyperbolic",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "deepinfra": "deepinfra",
    "novita": "novita",
    "moonshot": "moonshot",
    "zai": "glm",
    "bigmodel": "zhipuai",
    "minimax": "minimax",
    "dashscope": "qwen-cloud",
    "volcengine": "volcengine-ark",
    "perplexity": "perplexity",
    "xai": "xai",
    "nebius": "nebius",
    "cloudflare": "cloudflare-ai",
    "vertex_ai": "vertex-ai",
    "vertex_ai-anthropic_models": "vertex-ai",
    "vertex_ai-language-models": "vertex-ai",
    "vertex_ai-mistral_models": "vertex-ai",
    "vertex_ai-llama_models": "vertex-ai",
    "vertex_ai-deepseek_models": "vertex-ai",
    "vertex_ai-qwen_models": "vertex-ai",
    "vertex_ai-openai_models": "vertex-ai",
    "vertex_ai-zai_models": "vertex-ai",
    "vertex_ai-minimax_models": "vertex-ai",
    "vertex_ai-moonshot_models": "vertex-ai",
    "xiaomi_mimo": "xiaomi",
}
MODES = {"chat", "responses", "completion", "embedding"}
RATES = {
    "p": "input_cost_per_token",
    "o": "output_cost_per_token",
    "r": "cache_read_input_token_cost",
    "w": "cache_creation_input_token_cost",
    "h": "cache_creation_input_token_cost_above_1hr",
    "t": "output_cost_per_reasoning_token",
    "a": "input_cost_per_audio_token",
    "k": "cache_read_input_audio_token_cost",
    "s": "output_cost_per_audio_token",
    "i": "input_cost_per_image_token",
    "d": "output_cost_per_image_token",
}
# Zero is a price for these and a gap for all others: many zeros of the list mean "nobody filled this in".
MAY_BE_ZERO = {"o"}


def pico(usd):
    """USD per token as pico-USD, rounded to a whole number."""
    return int((Decimal(repr(float(usd))) * 10**12).to_integral_value())


def words(entry, suffix=""):
    """The rates of one tier. What equals the rate that it falls back to is left out."""
    found = {}
    for letter, member in RATES.items():
        value = entry.get(member + suffix)
        if isinstance(value, (int, float)) and (value > 0 or letter in MAY_BE_ZERO):
            found[letter] = pico(value)
    for letter, plain in (("t", "o"), ("a", "p"), ("i", "p"), ("s", "o"), ("d", "o"), ("k", "r")):
        if plain in found and found.get(letter) == found[plain]:
            del found[letter]
    return [f"{letter}{found[letter]}" for letter in RATES if letter in found]


def tiers(entry):
    """The rates from certain sizes of input on, smallest first."""
    sizes = set()
    for member in entry:
        match = re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", member)
        if match:
            sizes.add(int(match[1]))
    out = []
    for size in sorted(sizes):
        out += [f">{size * 1000}"] + words(entry, f"_above_{size}k_tokens")
    for tier in entry.get("tiered_pricing") or []:
        low = int(tier.get("range", [0])[0])
        if low > 0 and not sizes:
            out += [f">{low}"] + words(tier)
    return out


def first_tier(entry):
    """Entries with a list of tiers have no price outside of it."""
    for tier in entry.get("tiered_pricing") or []:
        if int(tier.get("range", [1])[0]) == 0:
            return {**entry, **{member: value for member, value in tier.items() if member != "range"}}
    return entry


def line(name, entry):
    """The line of one model as its key and its text, or None."""
    vendor = VENDORS.get(entry.get("litellm_provider"))
    mode = entry.get("mode")
    drawn = vendor == "gemini" and mode == "image_generation"
    if vendor is None or not (mode in MODES or drawn):
        return None
    entry = first_tier(entry)
    rates = words(entry)
    if not rates or not rates[0].startswith("p"):
        return None
    model = name.lower()
    prefix = entry["litellm_provider"].split("-")[0] + "/"
    model = model.removeprefix(prefix)
    if vendor == "fireworks":
        model = model.removeprefix("accounts/fireworks/models/")
    rates += tiers(entry)
    facts = []
    for letter, member in (("C", "max_input_tokens"), ("O", "max_output_tokens")):
        if isinstance(entry.get(member), (int, float)) and entry[member] > 0:
            facts.append(f"{letter}{int(entry[member])}")
    day = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", entry.get("deprecation_date") or "")
    if day:
        facts.append("D" + "".join(day.groups()))
    # Facts first: words behind a ">" belong to its tier.
    return (vendor, model), "\t".join([vendor, model, " ".join(facts + rates)])


def main(wheel):
    with zipfile.ZipFile(wheel) as package:
        (name,) = [n for n in package.namelist() if n.endswith("/model_prices_and_context_window_backup.json")]
        prices = json.loads(package.read(name), parse_float=float)
    version = re.search(r"litellm-([0-9.]+)-", wheel)[1]
    lines = {}
    for name, entry in prices.items():
        made = line(name, entry) if isinstance(entry, dict) else None
        if made:
            # A model under two of their words for one vendor: the first is the plainer one.
            lines.setdefault(*made)
    print(f"# litellm {version}, made by generate.py: do not edit")
    for key in sorted(lines):
        print(lines[key])


main(sys.argv[1])
