// SPDX-License-Identifier: ISC
// app.js GENERATION WHERE: answers with GENERATION; WHERE, in JSON, is for listen().
const [generation, where] = process.argv.slice(2)
const server = require('http').createServer((q, r) => r.end(generation + '\n'))
server.listen(JSON.parse(where))
process.on('SIGTERM', () => server.close(() => process.exit(0)))
