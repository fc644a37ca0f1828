// node check.mjs SERVER: the live page in a real browser. SERVER is the example `page_server`.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const [program] = process.argv.slice(2);
assert(program, "usage: node check.mjs SERVER");

const browser = await chromium.launch({
  executablePath: process.env.MILLRACE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** The server over made-up counts, until `use` has ended. */
async function serving(pipelines, partitions, use) {
  const server = spawn(program, [String(pipelines), String(partitions)], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const address = await new Promise((found, failed) => {
      server.stdout.once("data", (data) => found(String(data).trim()));
      server.once("exit", (code) => failed(new Error(`the server ended with ${code}`)));
    });
    await use(address);
  } finally {
    server.stdin.end();
    await new Promise((ended) => (server.exitCode === null ? server.once("exit", ended) : ended()));
  }
}

/** A page that must not complain. */
async function looking(options, use) {
  const context = await browser.newContext(options);
  // The page's policy forbids an icon; where it is passed over the browser asks for one.
  await context.route("**/favicon.ico", (route) => route.fulfill({ status: 204 }));
  const page = await context.newPage();
  const complaints = [];
  // A page that says what is wrong comes with a status that the browser complains of.
  const said = (message) => message.type() === "error" && !/the server responded with a status of 40[04]/.test(message.text());
  page.on("console", (message) => said(message) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => request.url().endsWith("/events") || complaints.push(`failed: ${request.url()}`));
  const hosts = new Set();
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
  try {
    await use(page);
    assert.deepEqual(complaints, [], "the console is quiet");
    assert(hosts.size <= 1, `nothing comes from elsewhere: ${[...hosts]}`);
  } finally {
    await context.close();
  }
}

async function accessible(page, what) {
  // The page's policy lets no such script in: it is passed over where this is called.
  await page.addScriptTag({ path: axe });
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const told = found.violations.map((one) => `${one.id}: ${one.help}; ${one.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`);
  assert.deepEqual(told, [], `${what} is accessible`);
}

const widths = (page) => page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
async function fits(page, what) {
  const [needed, there] = await widths(page);
  assert(needed <= there, `${what} needs ${needed} of ${there} pixels`);
}

/** How far to the right the overview's columns reach that tell of trouble, in the window of a phone. */
async function seenFirst(page) {
  const there = await page.evaluate(() => document.documentElement.clientWidth);
  for (const name of ["Pipeline", "State", "Lag", "Dead letters"]) {
    const { x, width } = await page.locator(".summary th", { hasText: name }).first().boundingBox();
    assert(x >= 0 && x + width <= there, `${name} ends at ${Math.round(x + width)} of ${there} pixels`);
  }
}

const tests = {
  async "figures change by themselves, and what is unfolded stays"(address) {
    await looking({}, async (page) => {
      await page.goto(address);
      const figure = page.locator('[data-t="0.rate.more"]');
      const before = await figure.textContent();
      await page.waitForFunction((old) => document.querySelector('[data-t="0.rate.more"]').textContent !== old, before, { timeout: 10000 });
      await page.waitForFunction(() => document.getElementById("news").textContent.startsWith("It changes"));
      const partitions = page.locator("details[data-partitions]").first();
      const cell = partitions.locator("tbody tr").first().locator("td").nth(3);
      const end = await cell.textContent();
      await page.waitForFunction(([old]) => document.querySelector("details[data-partitions] tbody td:nth-of-type(4)").textContent !== old, [end], { timeout: 10000 });
      assert.equal(await partitions.getAttribute("open"), "", "it is still unfolded");
      await page.waitForFunction(() => document.querySelector('[data-d="0.l.rate"]').getAttribute("d").includes("L"), undefined, { timeout: 20000 });
    });
  },

  async "names are texts"(address) {
    await looking({}, async (page) => {
      await page.goto(address);
      assert.equal(await page.locator("b, i").count(), 0);
      assert(await page.getByRole("link", { name: "<b onmouseover=alert(1)>odd</b>" }).isVisible());
      await page.waitForTimeout(2500);
      assert.equal(await page.locator("b, i").count(), 0, "nor after an update");
    });
  },

  async "it can be read without scripts"(address) {
    await looking({ javaScriptEnabled: false }, async (page) => {
      await page.goto(address);
      assert.equal(await page.getByText("payments-risk: publish fails and is tried again").count(), 1);
      assert((await page.getByText("payments-risk").count()) > 0);
      // This way of turning scripts off leaves what stands in noscript unseen.
      assert((await page.content()).includes("show it as it is now"));
      assert((await page.locator("tbody tr").count()) > 20);
      await page.getByRole("link", { name: "Functions", exact: true }).click();
      assert.equal(await page.title(), "Functions - Millrace");
    });
  },

  async "the keyboard reaches everything"(address) {
    await looking({}, async (page) => {
      await page.goto(address);
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
      await page.keyboard.press("Enter");
      await page.locator("details.pipeline > summary").first().focus();
      await page.keyboard.press("Enter");
      assert.equal(await page.locator("details.pipeline").first().getAttribute("open"), null, "Enter folds it");
      await page.keyboard.press("Space");
      assert.equal(await page.locator("details.pipeline").first().getAttribute("open"), "");
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.equal(outline, "solid", "the focus is seen");
      await page.locator("#q").fill("card 17");
      const [answer] = await Promise.all([page.waitForResponse("**/records?q=card+17"), page.keyboard.press("Enter")]);
      assert.equal(answer.status(), 200, "what the header's box asks is understood");
      await page.getByRole("heading", { name: "No record" }).waitFor();
      assert.equal(await page.getByText("Looked for card 17").count(), 1);
    });
  },
};

/** Every page, and how to get there. */
const places = {
  "the page with partitions": async (page, address) => {
    await page.goto(`${address}/?open=payments-risk`);
  },
  "a form for records": (page, address) => page.goto(`${address}/records`),
  records: async (page, address) => {
    await page.goto(`${address}/records?id=payments-risk%2F1%2Fevents%2F0%2F4711`);
    assert.equal(await page.locator("article").count(), 2);
  },
  "a look-up that is refused": (page, address) => page.goto(`${address}/records?key=a&limit=0`),
  "dead letters": async (page, address) => {
    await page.goto(`${address}/dead-letters`);
    assert.equal(await page.locator("#letters li").count(), 2);
  },
  functions: async (page, address) => {
    await page.goto(`${address}/functions`);
    assert.equal(await page.locator("main li").count(), 1);
  },
  "a function's form": (page, address) => page.goto(`${address}/functions/chat-sentiment`),
  "a function's answer": async (page, address) => {
    await page.goto(`${address}/functions/chat-sentiment`);
    // As a browser sends it from the worker's own page.
    await page.getByRole("button", { name: "Call" }).click();
    await page.getByRole("heading", { name: "Answer" }).waitFor();
    assert((await page.locator("#answer table").count()) > 0);
  },
  "nothing there": (page, address) => page.goto(`${address}/functions/nobody`),
};

/** A page that belongs to nobody sends a form. */
async function foreign(address) {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(`data:text/html,<form method="post" enctype="text/plain" action="${address}/functions/chat-sentiment"><button>Send</button></form>`);
    const [answer] = await Promise.all([page.waitForResponse("**/functions/chat-sentiment"), page.getByRole("button").click()]);
    assert.equal(answer.status(), 403);
  } finally {
    await context.close();
  }
}

await serving(4, 6, async (address) => {
  await foreign(address);
  console.log("ok a form of another site is refused");
  for (const [name, test] of Object.entries(tests)) {
    await test(address);
    console.log(`ok ${name}`);
  }
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[1280, 900], [375, 700]]) {
      await looking({ colorScheme, viewport: { width, height }, bypassCSP: true }, async (page) => {
        await page.goto(address);
        await accessible(page, `the page in ${colorScheme} at ${width}`);
        await fits(page, `the page at ${width}`);
      });
      for (const [name, go] of Object.entries(places)) {
        await looking({ colorScheme, viewport: { width, height }, bypassCSP: true }, async (page) => {
          await go(page, address);
          await page.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));
          await accessible(page, `${name} in ${colorScheme} at ${width}`);
          await fits(page, `${name} at ${width}`);
        });
      }
      console.log(`ok accessible and fitting, ${colorScheme}, ${width} pixels`);
    }
  }
});

await serving(20, 64, async (address) => {
  await looking({ bypassCSP: true }, async (page) => {
    const begun = Date.now();
    const answer = await page.goto(address);
    const { responseEnd, requestStart } = await page.evaluate(() => performance.getEntriesByType("navigation")[0].toJSON());
    console.log(`20 x 64: ${Math.round(responseEnd - requestStart)} ms for the document, ${Date.now() - begun} ms until it is shown, ${(await answer.body()).length} bytes`);
    assert.equal(await page.locator("details.pipeline").count(), 20);
    assert.equal(await page.locator("details[data-partitions] tbody tr").count(), 0, "partitions are folded");
    await page.getByText("Postgres for payments-risk: does not answer").waitFor();
    await page.locator('a[href="#pipeline-7"]').click();
    await page.waitForFunction(() => document.getElementById("pipeline-7").open);
    await page.locator("#pipeline-7 details > summary").click();
    await page.waitForFunction(() => document.querySelectorAll("#pipeline-7 tbody[data-rows] tr").length === 64, undefined, { timeout: 10000 });
    assert.equal(await page.locator("details[data-partitions] tbody tr").count(), 64, "those of one alone");
    await accessible(page, "20 pipelines of 64 partitions");
    await page.setViewportSize({ width: 375, height: 700 });
    await fits(page, "20 pipelines on a phone");
    await page.setViewportSize({ width: 360, height: 700 });
    await seenFirst(page);
  });
  console.log("ok 20 pipelines of 64 partitions");
  await looking({ javaScriptEnabled: false }, async (page) => {
    await page.goto(`${address}/?open=chat-sentiment`);
    assert.equal(await page.locator("details[data-partitions] tbody tr").count(), 64);
  });
  console.log("ok one is unfolded without scripts");
});

await browser.close();
