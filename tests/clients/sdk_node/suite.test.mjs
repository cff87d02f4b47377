// The official Node SDKs and the Vercel AI SDK against every upstream dialect. Run by ../run.sh node.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { deflateSync, crc32 as zlibCrc } from 'node:zlib';
import { after, describe, test } from 'node:test';
import { ADAPTERS } from './adapters.mjs';
import { CONST, DIALECTS, direct, modelOf, World } from './world.mjs';

const world = new World();
const place = await world.place; // no gateway, no suite
after(async () => assert.equal(await world.close(), 0, 'a gateway died during the suite'));

const TEXT = CONST.text.join('');
const THINKING = CONST.thinking.join('');
const [SUNNY, RAIN] = CONST.tool_results;
let tags = 0;

function crc32(buf) {
  if (zlibCrc) return zlibCrc(buf);
  let c = ~0;
  for (const b of buf) {
    c ^= b;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  }
  return ~c >>> 0;
}
function png() {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const out = Buffer.alloc(8 + body.length);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc32(body), 4 + body.length);
    return out;
  };
  const head = Buffer.from([0, 0, 0, 40, 0, 0, 0, 40, 8, 2, 0, 0, 0]);
  const rows = Buffer.from(Array.from({ length: 40 * 121 }, (_, i) => (i % 121 ? (i * 11) % 256 : 0)));
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', head), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}
const PNG = png();

function expectedUsage(client, up) {
  const n = { ...CONST.usage };
  if (up === 'gemini') Object.assign(n, { uncached: n.uncached + n.write, write: 0 });
  if (up === 'ollama') Object.assign(n, { uncached: n.uncached + n.read + n.write, read: 0, write: 0, reasoning: 0 });
  const whole = n.uncached + n.read + n.write;
  if (client === 'anthropic') return { input: n.uncached, output: n.output, read: n.read, write: n.write };
  if (client === 'gemini') return { input: whole, output: n.output - n.reasoning, read: n.read, reasoning: n.reasoning };
  return { input: whole, output: n.output, read: n.read, reasoning: n.reasoning };
}

for (const [name, Sdk] of Object.entries(ADAPTERS)) {
  for (const up of DIALECTS) {
    if (direct && Sdk.dialect !== up) continue;
    const start = (scenario) => {
      const tag = `n${++tags}`;
      const sdk = new Sdk(place);
      const ask = (more = {}) => ({ model: modelOf(up), prompt: `Please. [[scenario ${scenario}]] [[tag ${tag}]]`, ...more });
      const sent = async (count) => {
        const rs = await world.requests(tag);
        assert.equal(rs.length, count, `requests upstream: ${JSON.stringify(rs.map((r) => [r.path, r.status, r.refused]))}`);
        for (const r of rs) {
          assert.equal(r.dialect, up);
          assert.ok(!JSON.stringify(r.headers).includes('client-key'), "the client's key reached the upstream");
        }
      };
      return { sdk, ask, sent };
    };
    describe(`${name} -> ${up}`, () => {
      for (const stream of [false, true]) {
        const how = stream ? 'stream' : 'whole';
        test(`text, ${how}`, async () => {
          const { sdk, ask, sent } = start('text');
          const r = await sdk.ask(ask({ stream }));
          assert.equal(r.text, TEXT);
          assert.equal(r.finish, Sdk.finish.end);
          if (stream) assert.ok(r.deltas >= CONST.text.length - 1, `${r.deltas} deltas`);
          await sent(1);
        });
        test(`one tool, two turns, ${how}`, async () => {
          const { sdk, ask, sent } = start('tool');
          const a = ask({ stream, tools: true, results: [SUNNY] });
          let r = await sdk.ask(a);
          assert.deepEqual(r.calls.map((c) => c.slice(1)), [['get_weather', CONST.tool_args]]);
          if (!Sdk.vercel) {
            assert.equal(r.finish, Sdk.finish.tool);
            r = await sdk.follow(a, r, [SUNNY]);
          }
          assert.equal(r.text, 'Tool said: ' + SUNNY);
          await sent(2);
        });
        for (const scenario of ['tools2', 'tools2_interleaved']) {
          test(`two parallel tools (${scenario}), ${how}`, async () => {
            const { sdk, ask, sent } = start(scenario);
            const a = ask({ stream, tools: true, results: [SUNNY, RAIN] });
            let r = await sdk.ask(a);
            assert.deepEqual(r.calls.map((c) => c.slice(1)), CONST.cities.map((city) => ['get_weather', { city }]));
            if (!Sdk.vercel) r = await sdk.follow(a, r, [SUNNY, RAIN]);
            assert.equal(r.text, `${CONST.cities[0]}: ${SUNNY} | ${CONST.cities[1]}: ${RAIN}`);
            await sent(2);
          });
        }
        test(`thinking over two turns, ${how}`, async () => {
          // the AI SDK's OpenAI chat provider neither reads nor returns reasoning
          const blind = name === 'vercel_openai_chat';
          const { sdk, ask, sent } = start('think');
          const a = ask({ stream, tools: true, think: true, results: [SUNNY] });
          let r = await sdk.ask(a);
          if (!blind) assert.equal(r.think, THINKING);
          assert.deepEqual(r.calls.map((c) => c.slice(1)), [['get_weather', CONST.tool_args]]);
          if (!Sdk.vercel) r = await sdk.follow(a, r, [SUNNY]);
          assert.equal(r.text, 'Tool said: ' + SUNNY);
          await sent(2);
        });
        test(`image, ${how}`, async () => {
          const { sdk, ask } = start('image');
          const r = await sdk.ask(ask({ stream, image: PNG }));
          assert.equal(r.text, `image of ${PNG.length} bytes, sha256 ${createHash('sha256').update(PNG).digest('hex').slice(0, 16)}`);
        });
        test(`structured output, ${how}`, async () => {
          const { sdk, ask } = start('structured');
          const r = await sdk.ask(ask({ stream, schema: true }));
          assert.deepEqual(JSON.parse(r.text), CONST.structured);
          if (Sdk.vercel) assert.deepEqual(r.output, CONST.structured);
        });
        test(`usage, ${how}`, async () => {
          const { sdk, ask } = start('usage');
          const r = await sdk.ask(ask({ stream }));
          const want = expectedUsage(Sdk.vercel ? 'sum' : Sdk.dialect, up);
          if (name === 'vercel_anthropic') want.reasoning = r.usage.reasoning; // it shows it in some versions only
          assert.deepEqual(r.usage, want);
        });
        test(`length, ${how}`, async () => {
          const { sdk, ask } = start('length');
          const r = await sdk.ask(ask({ stream }));
          assert.equal(r.text, 'cut by the limit');
          assert.equal(r.finish, Sdk.finish.length);
        });
        const NAMES = {
          openai_chat: { err429: 'RateLimitError', overload: 'InternalServerError', err400: 'BadRequestError' },
          openai_responses: { err429: 'RateLimitError', overload: 'InternalServerError', err400: 'BadRequestError' },
          anthropic: { err429: 'RateLimitError', overload: /^(InternalServerError|OverloadedError)$/, err400: 'BadRequestError' },
          gemini: { err429: 'ApiError', overload: 'ApiError', err400: 'ApiError' },
        };
        for (const [scenario, statuses] of [['err429', [429]], ['overload', Sdk.dialect === 'anthropic' ? [529] : [503]], ['err400', [400]]]) {
          test(`${scenario}, ${how}`, async () => {
            const { sdk, ask, sent } = start(scenario);
            const e = await sdk.ask(ask({ stream })).then(() => assert.fail('no exception'), (x) => x);
            assert.ok(statuses.includes(e.status ?? e.statusCode), `${e.constructor.name} ${e.status ?? e.statusCode}: ${e.message}`);
            assert.match(e.message + (e.responseBody ?? ''), new RegExp(CONST.messages[scenario]));
            const want = Sdk.vercel ? /APICallError/ : NAMES[Sdk.dialect][scenario];
            assert.match(e.constructor.name + ' ' + e.name, want instanceof RegExp ? new RegExp(want.source.replace(/[\^$]/g, '')) : new RegExp(want));
            if (scenario === 'err429' && Sdk.dialect !== 'gemini') {
              const h = e.headers?.get?.('retry-after') ?? e.responseHeaders?.['retry-after'];
              assert.ok(['6', '7'].includes(h), `retry-after: ${h}`);
            }
            await sent(1);
          });
        }
        for (const scenario of ['cut', 'cut_clean', 'error_mid']) {
          if (scenario === 'cut_clean' && direct) continue; // an SDK alone cannot see it
          test(`${scenario} is an exception, ${how}`, async () => {
            const { sdk, ask, sent } = start(scenario);
            let seen = '';
            await assert.rejects(() => sdk.ask(ask({ stream, onDelta: (t) => { seen += t; } })));
            if (stream) assert.ok(TEXT.startsWith(seen) && seen, `before the break: ${JSON.stringify(seen)}`);
            await sent(1);
          });
        }
      }
      test('overload inside a 200 stream', async () => {
        const { sdk, ask, sent } = start('overload_in_stream');
        const e = await sdk.ask(ask({ stream: true })).then(() => assert.fail('no exception'), (x) => x);
        if (!direct) assert.ok([503, 529].includes(e.status ?? e.statusCode), `${e.constructor.name} ${e.status ?? e.statusCode}: ${e.message}`);
        await sent(1);
      });
    });
  }
}
