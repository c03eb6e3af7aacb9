/** The page on the box. */
import { join } from 'node:path'
import { packageRoot } from '../lib/package-root.js'
import { WebServer, type WebServerOptions } from '../web/server.js'
import { api, type Site } from './api.js'

export interface DashboardOptions extends Pick<WebServerOptions, 'config' | 'logger' | 'nowMs'> {
  site: Site
}

/** Where the page lies once it is built. */
const built = join(packageRoot(), 'dist', 'agent', 'dashboard', 'page')

export class Dashboard extends WebServer {
  constructor({ site, ...options }: DashboardOptions) {
    super({ ...options, page: built, cookie: 'pawl', routes: app => { app.route('/api', api(site)) } })
  }
}
