/** The page on the box: serves it, and says who may use it. Nothing on it comes from elsewhere. */
import { createServer as createSecureServer } from 'node:https'
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:net'
import { createAdaptorServer, type HttpBindings } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { compress } from 'hono/compress'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { HTTPException } from 'hono/http-exception'
import { secureHeaders } from 'hono/secure-headers'
import type { Config } from '../config.js'
import { PawlError } from '../errors.js'
import { listenOn } from '../lib/listen.js'
import type { Logger } from '../lib/logger.js'
import { secretOf } from '../lib/secret.js'
import { Access, isHash, isLoopback } from './access.js'
import { api, type Site } from './api.js'
import { pageFolder } from './files.js'

export interface DashboardOptions {
  config: Config['dashboard']
  site: Site
  logger: Logger
  /** Monotonic. */
  nowMs: () => number
}

const cookie = 'pawl'
const [none, self] = [['\'none\''], '\'self\'']
const mostBytes = 20 * 2 ** 20
const triedPorts = 20
/** Answers with no session. */
const open = new Set(['/api/session'])

export class Dashboard {
  private readonly options: DashboardOptions
  private server: Server | null = null
  private readonly ending = new AbortController()

  constructor(options: DashboardOptions) {
    this.options = options
  }

  /** Gives its address; null: no port is free. Errors: CONFIG_INVALID for a password or a certificate that cannot be read. */
  async start(): Promise<string | null> {
    const { config: { address, port, passwordFile, tls }, nowMs } = this.options
    const stored = (await secretOf({ key: 'dashboard.passwordFile', file: passwordFile, variable: 'PAWL_DASHBOARD_PASSWORD_HASH' })).trim()
    if (stored !== '' && !isHash(stored)) throw new PawlError('CONFIG_INVALID', 'dashboard.passwordFile holds no hash of a password; write one with `pawl password`')
    if (stored === '' && !isLoopback(address)) throw new PawlError('CONFIG_INVALID', `dashboard.address is "${address}", which others reach, and there is no password; write one with \`pawl password\` and name its file in dashboard.passwordFile`)
    const secure = tls.cert !== '' && { cert: await readFile(tls.cert), key: await readFile(tls.key) }
    const { fetch } = this.app(new Access({ hash: stored || null, nowMs }), secure !== false)
    const how = secure ? { createServer: createSecureServer, serverOptions: secure } : { createServer }
    const makeServer = () => createAdaptorServer({ fetch, ...how }) as Server
    const listening = await listenOn(makeServer, { address, port, tries: triedPorts })
    if (!listening) return null
    this.server = listening.server
    return `http${secure ? 's' : ''}://${address.includes(':') ? `[${address}]` : address}:${String(listening.port)}`
  }

  async stop(): Promise<void> {
    this.ending.abort()
    const { server } = this
    this.server = null
    if (!server) return
    const closed = new Promise<void>(resolve => { server.close(() => { resolve() }) })
    if ('closeAllConnections' in server) (server as ReturnType<typeof createServer>).closeAllConnections()
    await closed
  }

  private app(access: Access, secure: boolean) {
    const { site, logger } = this.options
    const app = new Hono<{ Bindings: HttpBindings }>()
    app.onError((cause, c) => {
      if (cause instanceof HTTPException) return c.json({ error: { code: 'COMMAND_INVALID', message: cause.message } }, cause.status)
      if (cause instanceof PawlError) return c.json({ error: { code: cause.code, message: cause.message } }, cause.code === 'FRAME_GONE' ? 409 : 422)
      logger.error(cause, 'the page could not be answered')
      return c.json({ error: { code: 'INTERNAL', message: 'something went wrong on the box; its log says more' } }, 500)
    })
    app.use(secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: none, scriptSrc: [self], styleSrc: [self], imgSrc: [self, 'data:'], connectSrc: [self],
        baseUri: none, formAction: [self], frameAncestors: none,
      },
      // Over plain HTTP on a local network there is nothing to upgrade to.
      strictTransportSecurity: secure,
    }))
    app.use(async (c, next) => {
      if (!access.needsPassword && !isLoopback(c.req.header('host') ?? '')) throw new HTTPException(403, { message: 'without a password this page answers to localhost alone' })
      await next()
    })
    app.use(async (c, next) => {
      if (!['GET', 'HEAD'].includes(c.req.method) && isForeign(c.req.header())) throw new HTTPException(403, { message: 'another site has sent this' })
      await next()
    })
    app.use(bodyLimit({ maxSize: mostBytes, onError: () => { throw new HTTPException(413, { message: `more than ${String(mostBytes / 2 ** 20)} MB at once` }) } }))
    app.use(async (c, next) => {
      await next()
      if (!c.res.headers.has('cache-control')) c.header('cache-control', 'no-cache')
    })
    app.get('/api/session', c => c.json({ needsPassword: access.needsPassword, open: access.admits(getCookie(c, cookie)) }))
    app.post('/api/session', async c => {
      const { password } = await c.req.json<{ password?: unknown }>().catch(() => ({ password: null }))
      const opened = await access.open(typeof password === 'string' ? password : '', c.env.incoming.socket.remoteAddress ?? '')
      if (opened === 'later') throw new HTTPException(429, { message: 'too many wrong passwords; wait a minute' })
      if (opened === 'wrong') throw new HTTPException(401, { message: 'the password is wrong' })
      setCookie(c, cookie, opened.token, { httpOnly: true, sameSite: 'Strict', path: '/', secure, maxAge: 7 * 86_400 })
      return c.json({})
    })
    app.delete('/api/session', c => {
      access.close(getCookie(c, cookie))
      deleteCookie(c, cookie, { path: '/' })
      return c.json({})
    })
    app.use(async (c, next) => {
      if (c.req.path.startsWith('/api/') && !open.has(c.req.path) && !access.admits(getCookie(c, cookie))) throw new HTTPException(401, { message: 'log in first' })
      await next()
    })
    app.route('/api', api(site))
    app.get('*', compress(), serveStatic({ root: pageFolder, index: 'index.html' }))
    return app
  }
}

/** Whether a browser says that another site's page sends this; programs that are no browsers say nothing of it. */
function isForeign({ host, origin, 'sec-fetch-site': site }: Record<string, string>): boolean {
  if (site !== undefined) return site !== 'same-origin'
  return origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)
}
