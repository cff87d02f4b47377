// What Node's parser (llhttp, strict) makes of HTTP/1 bytes. Same lines in and out as h11_reader.py.
'use strict';

process.removeAllListeners('warning');
process.on('warning', () => {});
const { HTTPParser, methods, allMethods } = process.binding('http_parser');
const verbs = allMethods ?? methods;
const HEAD_BYTES = 100000;

// Requests (method null) until the parser stops, or the answer to one request of that method.
function read(method, data) {
  const parser = new HTTPParser();
  parser.initialize(method === null ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {}, HEAD_BYTES);
  const messages = [];
  let fields = [];
  let url = '';
  let current = null;
  let over = false;
  let tunnel = false;
  parser[HTTPParser.kOnHeaders] = (more, target) => {
    if (current === null) {
      fields.push(...more);
      url += target;
    }
  };
  parser[HTTPParser.kOnHeadersComplete] = (major, minor, rest, verb, target, status, _reason, upgrade) => {
    const all = rest === undefined ? fields : rest;
    const start = target === undefined ? url : target;
    fields = [];
    url = '';
    const pairs = [];
    for (let at = 0; at < all.length; at += 2) pairs.push([all[at].toLowerCase(), all[at + 1]]);
    if (method === null) {
      tunnel = upgrade;
      current = { method: verbs[verb], start, fields: pairs, body: '' };
      return 0;
    }
    if (status >= 100 && status < 200 && status !== 101) return 0;
    current = over ? null : { method, start: String(status), fields: pairs, body: '' };
    // What Node's client tells its parser: 1 has no body, 2 is a tunnel.
    if (upgrade || (method === 'CONNECT' && status >= 200 && status < 300)) return 2;
    return method === 'HEAD' ? 1 : 0;
  };
  parser[HTTPParser.kOnBody] = (piece) => {
    if (current !== null) current.body += piece.toString('latin1');
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    if (current === null) return;
    messages.push(current);
    over = method !== null;
    current = null;
  };
  let result = parser.execute(data);
  if (!(result instanceof Error) && method !== null) {
    const end = parser.finish();
    if (end instanceof Error) result = end;
  }
  // One answer is enough; what is wrong behind it is nobody's business.
  let fault = result instanceof Error && !over ? `${result.code}: ${result.reason}` : null;
  if (tunnel && fault === null) fault = 'takes what is behind an offer for a tunnel';
  return { messages, fault };
}

let input = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (piece) => { input += piece; });
process.stdin.on('end', () => {
  for (const line of input.split('\n')) {
    if (line === '') continue;
    const { method, bytes } = JSON.parse(line);
    process.stdout.write(JSON.stringify(read(method, Buffer.from(bytes, 'hex'))) + '\n');
  }
});
