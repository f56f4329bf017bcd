// Sends the messages that stand in its standard input, one after another on one connection.
//
// The input is an object in JSON: what nodemailer is to connect to, and the messages, each with its
// envelope and, in base64, its content. For each of them one line is printed: what nodemailer says
// became of it.

const nodemailer = require("nodemailer");

async function send(transport, message) {
  const raw = Buffer.from(message.content, "base64");
  try {
    const sent = await transport.sendMail({ envelope: message.envelope, raw });
    return { accepted: sent.accepted, rejected: sent.rejected, response: sent.response };
  } catch (error) {
    return { code: error.code, response: error.response };
  }
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const { options, messages } = JSON.parse(Buffer.concat(chunks).toString());
  const transport = nodemailer.createTransport(options);
  for (const message of messages) console.log(JSON.stringify(await send(transport, message)));
  transport.close();
}

main();
