import type { Server } from 'node:net'

/** Listens on loopback, at the first free one of some ports; gives it, or null where all are taken. */
export function listenOnLoopback<S extends Server>(
  makeServer: () => S, options: { port: number; tries: number },
): Promise<{ server: S; port: number } | null> {
  return listenOn(makeServer, { address: '127.0.0.1', ...options })
}

/** The same on any address. Errors: the address is not this machine's. */
export async function listenOn<S extends Server>(
  makeServer: () => S, { address, port, tries }: { address: string; port: number; tries: number },
): Promise<{ server: S; port: number } | null> {
  for (let next = port; next < Math.min(65_536, port + tries); next++) {
    const server = makeServer()
    if (await listens(server, address, next)) return { server, port: next }
  }
  return null
}

function listens(server: Server, address: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false)
      else reject(error)
    }
    server.once('error', failed)
    server.listen(port, address, () => {
      server.off('error', failed)
      resolve(true)
    })
  })
}
