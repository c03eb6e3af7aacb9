/**
 * A camera is a stream of encoded pictures. It ends when the camera ends it, and raises when the camera fails; starting it
 * again is the supervisor's work. Null: all is well and there is no new picture, where pictures come when they come. Sources: one file each, a row
 * in index.ts.
 */
export type CameraSource = (signal: AbortSignal) => AsyncIterable<Uint8Array | null>

/** Bytes of the largest picture that is taken from a camera. */
export const largestPictureBytes = 16 * 1024 * 1024
