/** Bytes of a request at most: a picture of a camera and more. */
export const mostRequestBytes = 20 * 2 ** 20
