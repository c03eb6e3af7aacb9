/**
 * Every error that pawl raises on purpose has a stable code from this catalogue; the message says what
 * happened, with which value, and what to do or what was done instead.
 */
export const errorCatalogue = {
  CONFIG_INVALID: 'The configuration file is not valid; the daemon does not start.',
  CAMERA_UNAVAILABLE: 'A camera cannot be reached or sends nothing usable; it is tried again.',
  IMAGE_UNREADABLE: 'An image cannot be decoded; it is put aside in quarantine.',
  FRAME_GONE: 'A frame is not there any more: it has a label by now, or made room for others.',
  LABELS_INSUFFICIENT: 'There are too few labels for a round; collection goes on.',
  LABEL_JUDGES: 'A label is the same picture as an image that judges; rounds leave it out.',
  TRAINING_FAILED: 'A round ended without a model; the champion stays.',
  MODEL_INVALID: 'A model file cannot be served; the former model stays in service.',
  REGISTRY_CORRUPT: 'The registry or a model does not match its checksum.',
  DATA_UNWRITABLE: 'The data folder cannot be made or written to; the daemon does not start.',
  DATA_LOCKED: 'Another daemon works on this data folder.',
  DATA_FORMAT: 'The data folder is of a format that this version does not work on; nothing was changed.',
  BACKUP_FAILED: 'A backup could not be written; there is none.',
  BACKUP_INVALID: 'A file is no whole backup; nothing was changed.',
  DISK_FULL: 'The disk is nearly full; collection stops first.',
  BROKER_UNAVAILABLE: 'The MQTT broker cannot be reached; the agent goes on.',
  BROKER_REFUSES: 'The MQTT broker does not take a message: what this box may publish is too little; the agent goes on.',
  EXCHANGE_UNAVAILABLE: 'The registry by which boxes give models to each other cannot be reached, or refuses this box; it is tried again.',
  OFFER_REFUSED: 'A model that another box offers is not taken; the model in service stays.',
  MONITORING_UNAVAILABLE: 'Metrics are served nowhere; the agent goes on.',
  DASHBOARD_UNAVAILABLE: 'The page is served nowhere; the agent goes on.',
  CONTROL_UNAVAILABLE: 'Commands at the box do not reach the agent; it goes on.',
  DEMO_FAILED: 'A step of the demonstration did not happen.',
  COMMAND_INVALID: 'A command or its payload is not understood; nothing was done.',
  COMMAND_OFF: 'A command is switched off in the configuration; nothing was done.',
  COMMAND_INTERRUPTED: 'The agent ended while it carried out a command; how far it came is not known.',
} as const

export type ErrorCode = keyof typeof errorCatalogue

export class PawlError extends Error {
  override readonly name = 'PawlError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
