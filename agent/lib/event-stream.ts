/** One stream of events that many listen to. A listener that raises disturbs nobody. */
export class EventStream<T> {
  private readonly listeners = new Set<(event: T) => void>()
  private readonly onListenerError: (cause: unknown) => void

  constructor({ onListenerError }: { onListenerError: (cause: unknown) => void }) {
    this.onListenerError = onListenerError
  }

  /** Gives the function that ends the subscription. */
  subscribe(listener: (event: T) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  publish(event: T): void {
    for (const listener of this.listeners) {
      try {
        listener(event)
      } catch (cause) {
        this.onListenerError(cause)
      }
    }
  }
}
