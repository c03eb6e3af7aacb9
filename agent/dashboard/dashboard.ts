/** The page on the box. */
import { WebServer, type WebServerOptions } from '../web/server.js'
import { api, type Site } from './api.js'
import { pageFolder } from './files.js'

export interface DashboardOptions extends Pick<WebServerOptions, 'config' | 'logger' | 'nowMs'> {
  site: Site
}

export class Dashboard extends WebServer {
  constructor({ site, ...options }: DashboardOptions) {
    super({ ...options, page: pageFolder, cookie: 'pawl', routes: app => { app.route('/api', api(site)) } })
  }
}
