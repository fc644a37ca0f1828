// node pictures.mjs ADDRESS FOLDER: pictures of a running worker's pages, for the documentation.
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [address, folder] = process.argv.slice(2);
assert(address && folder, "usage: node pictures.mjs ADDRESS FOLDER");
mkdirSync(folder, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.MILLRACE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});

async function take(name, options, go, fullPage = false) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await go(page);
  // Figures that change by themselves have come by then.
  await page.waitForTimeout(2500);
  const path = join(folder, name);
  await page.screenshot({ path, fullPage });
  const { size } = statSync(path);
  assert(size < 250000, `${name} is small: ${size}`);
  console.log(`ok ${name}, ${size} bytes`);
  await context.close();
}

const wide = { viewport: { width: 1180, height: 860 } };
const phone = { viewport: { width: 390, height: 844 } };
const overview = (page) => page.goto(address);
const one = async (page) => {
  await page.goto(address);
  // One pipeline alone, with its partitions.
  await page.evaluate(() => {
    for (const pipeline of document.querySelectorAll("details.pipeline")) {
      pipeline.open = pipeline.querySelector("summary").textContent.includes("sentiment");
      pipeline.querySelectorAll("details").forEach((one) => (one.open = true));
    }
  });
};
await take("page-light.png", { ...wide, colorScheme: "light" }, overview);
await take("page-dark.png", { ...wide, colorScheme: "dark" }, overview);
await take("page-phone.png", { ...phone, colorScheme: "light" }, overview);
await take("page-pipeline.png", { ...wide, colorScheme: "light" }, one, true);
await take("page-dead-letters.png", { ...wide, colorScheme: "light" }, (page) => page.goto(`${address}/dead-letters`));
await take("page-record.png", { ...wide, colorScheme: "light" }, async (page) => {
  await page.goto(`${address}/records?q=card-17`);
  await page.locator("article").first().evaluate((record) => record.scrollIntoView());
});
await take("page-function.png", { ...wide, colorScheme: "light" }, async (page) => {
  await page.goto(`${address}/functions/sentiment`);
  await page.getByRole("button", { name: "Call" }).click();
  await page.getByRole("heading", { name: "Answer" }).waitFor();
}, true);
await browser.close();
