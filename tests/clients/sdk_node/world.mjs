// Starts the scripted upstream and the gateway by way of ../harness.py, and asks it for their addresses.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const dir = process.env.CLIENTS_DIR;
export const direct = process.env.CLIENTS_DIRECT === '1';
export const CONST = JSON.parse(readFileSync(join(dir, 'scripted', 'constants.json'), 'utf8'));
export const DIALECTS = ['openai_chat', 'openai_responses', 'anthropic', 'gemini', 'ollama'];
const SHORT = { openai_chat: 'chat', openai_responses: 'resp', anthropic: 'anthropic', gemini: 'gemini', ollama: 'ollama' };
export const modelOf = (dialect) => SHORT[dialect] + '-model';

export class World {
  constructor() {
    this.child = spawn('python3', [join(dir, 'harness.py'), ...(direct ? ['--direct'] : [])], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.ended = new Promise((done) => this.child.on('exit', done));
    const said = new Promise((done) => createInterface({ input: this.child.stdout }).once('line', (line) => done(JSON.parse(line))));
    const ended = this.ended.then((code) => ({ error: `the harness ended with ${code}` }));
    this.place = Promise.race([said, ended]).then((answer) => {
      if (answer.error) throw new Error(answer.error);
      return answer;
    });
  }
  async requests(tag) {
    const { upstream } = await this.place;
    return (await fetch(`${upstream}/__requests?tag=${tag}`)).json();
  }
  async close() {
    this.child.stdin.end();
    return this.ended;
  }
}
