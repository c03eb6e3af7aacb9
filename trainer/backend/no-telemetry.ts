/**
 * ONNX Runtime 1.29 and later tell Microsoft what they run, and keep files about it in the home folder and the temporary one, unless this is set
 * before they load (microsoft/onnxruntime, pull request 27379).
 */
process.env.ORT_DISABLE_TELEMETRY = '1'
