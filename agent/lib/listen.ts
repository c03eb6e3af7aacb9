import type { Server } from 'node:net'

/** Listens on loopback, at the first free one of some ports; gives it, or null where all are taken. */
export async function listenOnLoopback<S extends Server>(
  makeServer: () => S, { port, tries }: { port: number; tries: number },
): Promise<{ server: S; port: number } | null> {
  for (let next = port; next < Math.min(65_536, port + tries); next++) {
    const server = makeServer()
    if (await listens(server, next)) return { server, port: next }
  }
  return null
}

function listens(server: Server, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false)
      else reject(error)
    }
    server.once('error', failed)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', failed)
      resolve(true)
    })
  })
}
