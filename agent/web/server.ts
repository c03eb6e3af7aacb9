/**
 * Serves a page and what it asks for, and says who may use it: the page of a box, and that of a fleet. Nothing on it comes from elsewhere.
 */
import { createServer as createSecureServer } from 'node:https'
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:net'
import { createAdaptorServer, type HttpBindings } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { Hono, type Context } from 'hono'
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
import { Access, isHash, isLoopback, isOwnAddress } from './access.js'
import { mostRequestBytes } from './limits.js'

/** `ending`: fires when the session of a request ends. */
export interface ApiEnv { Variables: { ending: AbortSignal } }
interface Env extends ApiEnv { Bindings: HttpBindings }
export type WebApp = Hono<Env>

export interface WebServerOptions {
  config: Config['dashboard']
  /** Folder of the built page. */
  page: string
  /** Name of its cookie: browsers send it to every port of a host. */
  cookie: string
  /** What answers below `/api/`, to those who are logged in. */
  routes: (app: WebApp) => void
  /** What answers programs, at paths of its own: where there is a password they give it by HTTP Basic, under any name. */
  programs?: { paths: readonly string[]; routes: (app: WebApp) => void }
  logger: Logger
  /** Monotonic. */
  nowMs: () => number
}

const [none, self] = [['\'none\''], '\'self\'']
const mostSessionBytes = 4096
const mostConnections = 200
const triedPorts = 20
/** Answers with no session. */
const open = new Set(['/api/session'])

/** What the page is locked with: the hash of its password, its certificate; null: without. Errors: CONFIG_INVALID, where it may not be served so. */
export async function keysOf({ address, passwordFile, tls }: Config['dashboard']): Promise<{ hash: string | null; secure: { cert: Buffer; key: Buffer } | null }> {
  const hash = (await secretOf({ key: 'dashboard.passwordFile', file: passwordFile, variable: 'PAWL_DASHBOARD_PASSWORD_HASH' })).trim() || null
  if (hash !== null && !isHash(hash)) throw new PawlError('CONFIG_INVALID', 'dashboard.passwordFile holds no hash of a password; write one with `pawl password`')
  if (hash === null && !isOwnAddress(address)) throw new PawlError('CONFIG_INVALID', `dashboard.address is "${address}", which others reach, and there is no password; write one with \`pawl password\` and name its file in dashboard.passwordFile`)
  return { hash, secure: tls.cert === '' ? null : { cert: await pemOf('cert', tls.cert), key: await pemOf('key', tls.key) } }
}

export class WebServer {
  private readonly options: WebServerOptions
  private server: Server | null = null

  constructor(options: WebServerOptions) {
    this.options = options
  }

  /** Gives its address; null: no port is free. Errors: CONFIG_INVALID for a password or a certificate that cannot be read. */
  async start(): Promise<string | null> {
    const { config, nowMs } = this.options
    const { address, port } = config
    const { hash, secure } = await keysOf(config)
    const { fetch } = this.app(new Access({ hash, nowMs }), secure !== null)
    const how = secure ? { createServer: createSecureServer, serverOptions: secure } : { createServer }
    const makeServer = () => {
      const server = createAdaptorServer({ fetch, ...how }) as Server
      server.maxConnections = mostConnections
      return server
    }
    const listening = await listenOn(makeServer, { address, port, tries: triedPorts }).catch((cause: unknown) => {
      throw new PawlError('CONFIG_INVALID', `the page cannot be served on ${address} (${cause instanceof Error ? cause.message : String(cause)}); see dashboard.address and dashboard.tls`, { cause })
    })
    if (!listening) return null
    this.server = listening.server
    return `http${secure ? 's' : ''}://${address.includes(':') ? `[${address}]` : address}:${String(listening.port)}`
  }

  async stop(): Promise<void> {
    const { server } = this
    this.server = null
    if (!server) return
    const closed = new Promise<void>(resolve => { server.close(() => { resolve() }) })
    if ('closeAllConnections' in server) (server as ReturnType<typeof createServer>).closeAllConnections()
    await closed
  }

  private app(access: Access, secure: boolean): WebApp {
    const { routes, programs, page, logger } = this.options
    const app: WebApp = new Hono()
    app.onError((cause, c) => {
      if (cause instanceof HTTPException) return c.json({ error: { code: 'COMMAND_INVALID', message: cause.message } }, cause.status)
      if (cause instanceof PawlError) return c.json({ error: { code: cause.code, message: cause.message } }, cause.code === 'FRAME_GONE' ? 409 : 422)
      logger.error(cause, 'the page could not be answered')
      return c.json({ error: { code: 'INTERNAL', message: 'something went wrong; the log says more' } }, 500)
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
      // To look, too, may make the box work.
      const works = c.req.path.startsWith('/api/') || !['GET', 'HEAD'].includes(c.req.method)
      if (works && isForeign(c.req.header())) throw new HTTPException(403, { message: 'another site has sent this' })
      await next()
    })
    app.use(async (c, next) => {
      await next()
      if (!c.res.headers.has('cache-control')) c.header('cache-control', 'no-cache')
    })
    this.sessions(app, access, secure)
    app.use(limited(mostRequestBytes))
    routes(app)
    for (const path of programs?.paths ?? []) this.forPrograms(app, access, path)
    programs?.routes(app)
    app.get('*', compress(), serveStatic({ root: page, index: 'index.html' }))
    return app
  }

  private sessions(app: WebApp, access: Access, secure: boolean): void {
    const { cookie } = this.options
    app.get('/api/session', c => c.json({ needsPassword: access.needsPassword, open: access.admits(getCookie(c, cookie)) }))
    app.post('/api/session', limited(mostSessionBytes), async c => {
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
    app.use('/api/*', async (c: Context<Env>, next) => {
      const token = getCookie(c, cookie)
      if (!open.has(c.req.path) && !access.admits(token)) throw new HTTPException(401, { message: 'log in first' })
      c.set('ending', access.ending(token))
      await next()
    })
  }

  private forPrograms(app: WebApp, access: Access, path: string): void {
    const { cookie } = this.options
    app.use(path, async (c: Context<Env>, next) => {
      if (!access.admits(getCookie(c, cookie))) {
        const given = c.req.header('authorization')
        // Who gives none has not tried one.
        const verdict = given === undefined ? 'wrong' : await access.verify(basicPassword(given), c.env.incoming.socket.remoteAddress ?? '')
        if (verdict === 'later') throw new HTTPException(429, { message: 'too many wrong passwords; wait a minute' })
        if (verdict === 'wrong') {
          c.header('www-authenticate', 'Basic realm="pawl"')
          return c.json({ error: { code: 'COMMAND_INVALID', message: 'the password of the page is needed, by HTTP Basic' } }, 401)
        }
      }
      return next()
    })
  }
}

/** A body of so many bytes at most. */
function limited(maxSize: number) {
  const most = maxSize >= 2 ** 20 ? `${String(maxSize / 2 ** 20)} MB` : `${String(maxSize)} bytes`
  return bodyLimit({ maxSize, onError: () => { throw new HTTPException(413, { message: `more than ${most} at once` }) } })
}

/** Errors: CONFIG_INVALID. */
async function pemOf(key: 'cert' | 'key', file: string): Promise<Buffer> {
  return readFile(file).catch((cause: unknown) => {
    throw new PawlError('CONFIG_INVALID', `dashboard.tls.${key} is "${file}", which cannot be read; name a file in PEM`, { cause })
  })
}

/** Of RFC 7617; "": there is none. */
function basicPassword(header: string): string {
  const [, encoded = ''] = /^basic ([\w+/=]+)$/i.exec(header) ?? []
  return Buffer.from(encoded, 'base64').toString('utf8').replace(/^[^:]*:?/, '')
}

/** Whether a browser says that another site's page sends this; programs that are no browsers say nothing of it. */
function isForeign({ host, origin, 'sec-fetch-site': site }: Record<string, string>): boolean {
  // `none`: a person has typed the address.
  if (site !== undefined) return site !== 'same-origin' && site !== 'none'
  return origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)
}
