// The official Node SDKs, and the Vercel AI SDK with its three providers, behind one face.
// Each is used as its documentation shows; history goes back as the SDK gave it.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogle } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';

export const TOOLS = [
  {
    name: 'get_weather',
    description: 'Weather of a city',
    schema: {
      type: 'object',
      properties: {
        city: { type: 'string' },
        days: { type: 'integer' },
        ratio: { type: 'number' },
        tags: { type: 'array', items: { type: 'string' } },
        nested: { type: 'object', properties: { deep: { type: 'array', items: { type: 'boolean' } } } },
      },
      required: ['city'],
    },
  },
];
export const CITY = {
  type: 'object',
  properties: { city: { type: 'string' }, population: { type: 'integer' }, languages: { type: 'array', items: { type: 'string' } } },
  required: ['city', 'population', 'languages'],
  additionalProperties: false,
};
const blank = () => ({ text: '', think: '', calls: [], finish: '', usage: {}, deltas: 0, history: [] });

class Chat {
  static dialect = 'openai_chat';
  static finish = { end: 'stop', tool: 'tool_calls', length: 'length' };
  constructor({ base, key }) {
    this.c = new OpenAI({ baseURL: base + '/v1', apiKey: key, maxRetries: 0 });
  }
  ask(a) {
    const content = a.image
      ? [{ type: 'text', text: a.prompt }, { type: 'image_url', image_url: { url: 'data:image/png;base64,' + a.image.toString('base64') } }]
      : a.prompt;
    return this.run(a, [{ role: 'user', content }]);
  }
  async run(a, messages) {
    const r = blank();
    const body = { model: a.model, messages };
    if (a.tools) body.tools = TOOLS.map((t) => ({ type: 'function', function: { name: t.name, description: t.description, parameters: t.schema } }));
    if (a.think) body.reasoning_effort = 'medium';
    if (a.schema) body.response_format = { type: 'json_schema', json_schema: { name: 'city', schema: CITY, strict: true } };
    let done;
    if (a.stream) {
      const st = this.c.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
      for await (const chunk of st) {
        for (const c of chunk.choices) {
          if (c.delta.content) r.deltas++, a.onDelta?.(c.delta.content);
          r.think += c.delta.reasoning_content ?? '';
        }
      }
      done = await st.finalChatCompletion();
    } else {
      done = await this.c.chat.completions.create(body);
      r.think = done.choices[0].message.reasoning_content ?? '';
    }
    const m = done.choices[0].message;
    const { parsed: _, ...message } = m;
    message.tool_calls = m.tool_calls?.map(({ index: _i, ...t }) => ({ ...t, function: { name: t.function.name, arguments: t.function.arguments } }));
    if (!message.tool_calls?.length) delete message.tool_calls;
    r.text = m.content ?? '';
    r.finish = done.choices[0].finish_reason;
    r.calls = (m.tool_calls ?? []).map((t) => [t.id, t.function.name, JSON.parse(t.function.arguments)]);
    const u = done.usage;
    r.usage = { input: u.prompt_tokens, output: u.completion_tokens, read: u.prompt_tokens_details.cached_tokens, reasoning: u.completion_tokens_details.reasoning_tokens };
    r.history = [...messages, message];
    return r;
  }
  follow(a, r, results) {
    return this.run(a, [...r.history, ...results.map((content, i) => ({ role: 'tool', tool_call_id: r.calls[i][0], content }))]);
  }
}

class Responses {
  static dialect = 'openai_responses';
  static finish = { end: 'completed', tool: 'completed', length: 'incomplete' };
  constructor({ base, key }) {
    this.c = new OpenAI({ baseURL: base + '/v1', apiKey: key, maxRetries: 0 });
  }
  ask(a) {
    const content = a.image
      ? [{ type: 'input_text', text: a.prompt }, { type: 'input_image', detail: 'auto', image_url: 'data:image/png;base64,' + a.image.toString('base64') }]
      : a.prompt;
    return this.run(a, [{ role: 'user', content }]);
  }
  async run(a, input) {
    const r = blank();
    const body = { model: a.model, input, store: false };
    if (a.tools) body.tools = TOOLS.map((t) => ({ type: 'function', name: t.name, description: t.description, parameters: t.schema, strict: false }));
    if (a.think) Object.assign(body, { reasoning: { effort: 'medium', summary: 'auto' }, include: ['reasoning.encrypted_content'] });
    if (a.schema) body.text = { format: { type: 'json_schema', name: 'city', schema: CITY, strict: true } };
    let done;
    if (a.stream) {
      const st = this.c.responses.stream(body);
      for await (const ev of st) {
        if (ev.type === 'response.output_text.delta') r.deltas++, a.onDelta?.(ev.delta);
        if (ev.type === 'response.failed') throw new OpenAI.APIError(undefined, ev.response.error, ev.response.error.message, undefined);
        if (ev.type === 'error') throw new OpenAI.APIError(undefined, ev, ev.message, undefined);
      }
      done = await st.finalResponse();
    } else {
      done = await this.c.responses.create(body);
    }
    r.finish = done.status;
    for (const i of done.output) {
      if (i.type === 'message') r.text += i.content.map((c) => c.text ?? '').join('');
      if (i.type === 'reasoning') r.think += i.summary.map((s) => s.text).join('');
      if (i.type === 'function_call') r.calls.push([i.call_id, i.name, JSON.parse(i.arguments)]);
    }
    const u = done.usage;
    r.usage = { input: u.input_tokens, output: u.output_tokens, read: u.input_tokens_details.cached_tokens, reasoning: u.output_tokens_details.reasoning_tokens };
    r.history = [...input, ...done.output.map(({ parsed_arguments: _, ...i }) => i)];
    return r;
  }
  follow(a, r, results) {
    return this.run(a, [...r.history, ...results.map((output, i) => ({ type: 'function_call_output', call_id: r.calls[i][0], output }))]);
  }
}

class Claude {
  static dialect = 'anthropic';
  static finish = { end: 'end_turn', tool: 'tool_use', length: 'max_tokens' };
  constructor({ base, key }) {
    this.c = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
  }
  ask(a) {
    const content = a.image
      ? [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: a.image.toString('base64') } }, { type: 'text', text: a.prompt }]
      : a.prompt;
    return this.run(a, [{ role: 'user', content }]);
  }
  async run(a, messages) {
    const r = blank();
    const body = { model: a.model, max_tokens: 4096, messages };
    if (a.tools) body.tools = TOOLS.map((t) => ({ name: t.name, description: t.description, input_schema: t.schema }));
    if (a.think) body.thinking = { type: 'enabled', budget_tokens: 2048 };
    if (a.schema) body.output_config = { format: { type: 'json_schema', schema: CITY } };
    let m;
    if (a.stream) {
      const st = this.c.messages.stream(body);
      for await (const ev of st) if (ev.type === 'content_block_delta' && ev.delta.type === 'text_delta') r.deltas++, a.onDelta?.(ev.delta.text);
      m = await st.finalMessage();
    } else m = await this.c.messages.create(body);
    for (const b of m.content) {
      if (b.type === 'text') r.text += b.text;
      if (b.type === 'thinking') r.think += b.thinking;
      if (b.type === 'tool_use') r.calls.push([b.id, b.name, b.input]);
    }
    r.finish = m.stop_reason;
    r.usage = { input: m.usage.input_tokens, output: m.usage.output_tokens, read: m.usage.cache_read_input_tokens, write: m.usage.cache_creation_input_tokens };
    const content = m.content.map(({ parsed_output: _, ...b }) => b);
    r.history = [...messages, { role: 'assistant', content }];
    return r;
  }
  follow(a, r, results) {
    return this.run(a, [...r.history, { role: 'user', content: results.map((content, i) => ({ type: 'tool_result', tool_use_id: r.calls[i][0], content })) }]);
  }
}

class Gemini {
  static dialect = 'gemini';
  static finish = { end: 'STOP', tool: 'STOP', length: 'MAX_TOKENS' };
  constructor({ base, key }) {
    this.c = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: base, retryOptions: { attempts: 1 } } });
  }
  ask(a) {
    const parts = [{ text: a.prompt }];
    if (a.image) parts.push({ inlineData: { mimeType: 'image/png', data: a.image.toString('base64') } });
    return this.run(a, [{ role: 'user', parts }]);
  }
  async run(a, contents) {
    const r = blank();
    const config = {};
    if (a.tools) config.tools = [{ functionDeclarations: TOOLS.map((t) => ({ name: t.name, description: t.description, parametersJsonSchema: t.schema })) }];
    if (a.think) config.thinkingConfig = { includeThoughts: true, thinkingBudget: 2048 };
    if (a.schema) Object.assign(config, { responseMimeType: 'application/json', responseJsonSchema: CITY });
    const chunks = [];
    if (a.stream) {
      for await (const ch of await this.c.models.generateContentStream({ model: a.model, contents, config })) {
        chunks.push(ch);
        for (const p of ch.candidates?.[0]?.content?.parts ?? []) if (p.text && !p.thought) r.deltas++, a.onDelta?.(p.text);
      }
    } else chunks.push(await this.c.models.generateContent({ model: a.model, contents, config }));
    const answer = [];
    for (const ch of chunks) {
      const c = ch.candidates?.[0];
      if (c?.content?.parts?.length) answer.push(c.content);
      for (const p of c?.content?.parts ?? []) {
        if (p.functionCall) r.calls.push([p.functionCall.id, p.functionCall.name, p.functionCall.args]);
        else if (p.text) r[p.thought ? 'think' : 'text'] += p.text;
      }
      r.finish = c?.finishReason ?? r.finish;
    }
    const u = chunks.at(-1).usageMetadata;
    r.usage = { input: u.promptTokenCount, output: u.candidatesTokenCount ?? 0, read: u.cachedContentTokenCount ?? 0, reasoning: u.thoughtsTokenCount ?? 0 };
    r.history = [...contents, ...answer];
    return r;
  }
  follow(a, r, results) {
    const parts = results.map((output, i) => ({ functionResponse: { ...(r.calls[i][0] ? { id: r.calls[i][0] } : {}), name: r.calls[i][1], response: { output } } }));
    return this.run(a, [...r.history, { role: 'user', parts }]);
  }
}

// Vercel: the SDK itself runs the tools and sends the next turn.
class Vercel {
  static vercel = true;
  static finish = { end: 'stop', tool: 'stop', length: 'length' };
  async ask(a) {
    const r = blank();
    const content = [{ type: 'text', text: a.prompt }];
    if (a.image) content.push({ type: 'file', mediaType: 'image/png', data: a.image });
    const call = {
      model: this.model(a.model),
      messages: [{ role: 'user', content }],
      maxRetries: 0,
      providerOptions: a.think ? this.thinking : this.plain,
      stopWhen: stepCountIs(4),
    };
    if (a.tools) {
      let n = 0;
      call.tools = Object.fromEntries(TOOLS.map((t) => [t.name, tool({
        description: t.description,
        inputSchema: jsonSchema(t.schema),
        execute: async (input, { toolCallId }) => {
          r.calls.push([toolCallId, t.name, input]);
          return a.results[n++];
        },
      })]));
    }
    if (a.schema) call.output = Output.object({ schema: jsonSchema(CITY) });
    let done;
    if (a.stream) {
      let failed;
      const st = streamText({ ...call, onError: ({ error }) => { failed = error; } });
      for await (const text of st.textStream) r.deltas++, a.onDelta?.(text);
      if (failed) {
        await Promise.allSettled([st.text, st.steps, st.finishReason, st.usage, st.totalUsage]);
        throw failed;
      }
      done = { text: await st.text, steps: await st.steps, finishReason: await st.finishReason, usage: await st.usage };
      r.output = a.schema ? await st.output : undefined;
    } else {
      done = await generateText(call);
      r.output = a.schema ? done.output : undefined;
    }
    r.text = done.text;
    r.think = done.steps[0].reasoningText ?? '';
    r.finish = done.finishReason;
    r.steps = done.steps.length;
    const u = done.usage;
    r.usage = { input: u.inputTokens, output: u.outputTokens, read: u.inputTokenDetails.cacheReadTokens ?? 0, reasoning: u.outputTokenDetails.reasoningTokens ?? 0 };
    return r;
  }
}
class VercelChat extends Vercel {
  static dialect = 'openai_chat';
  thinking = { openai: { reasoningEffort: 'medium', forceReasoning: true } };
  plain = {};
  constructor({ base, key }) {
    super();
    const p = createOpenAI({ baseURL: base + '/v1', apiKey: key });
    this.model = (m) => p.chat(m);
  }
}
class VercelResponses extends Vercel {
  static dialect = 'openai_responses';
  thinking = { openai: { store: false, reasoningEffort: 'medium', reasoningSummary: 'auto', include: ['reasoning.encrypted_content'], forceReasoning: true } };
  plain = { openai: { store: false } };
  constructor({ base, key }) {
    super();
    const p = createOpenAI({ baseURL: base + '/v1', apiKey: key });
    this.model = (m) => p.responses(m);
  }
}
class VercelAnthropic extends Vercel {
  static dialect = 'anthropic';
  thinking = { anthropic: { thinking: { type: 'enabled', budgetTokens: 2048 } } };
  plain = { anthropic: { structuredOutputMode: 'outputFormat' } };
  constructor({ base, key }) {
    super();
    const p = createAnthropic({ baseURL: base + '/v1', apiKey: key });
    this.model = (m) => p(m);
  }
}
class VercelGoogle extends Vercel {
  static dialect = 'gemini';
  thinking = { google: { thinkingConfig: { includeThoughts: true, thinkingBudget: 2048 } } };
  plain = {};
  constructor({ base, key }) {
    super();
    const p = createGoogle({ baseURL: base + '/v1beta', apiKey: key });
    this.model = (m) => p(m);
  }
}

export const ADAPTERS = {
  openai_chat: Chat,
  openai_responses: Responses,
  anthropic: Claude,
  gemini: Gemini,
  vercel_openai_chat: VercelChat,
  vercel_openai_responses: VercelResponses,
  vercel_anthropic: VercelAnthropic,
  vercel_google: VercelGoogle,
};
assert.ok(Object.keys(ADAPTERS).length === 8);
