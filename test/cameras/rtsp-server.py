"""A camera that speaks RTSP, with GStreamer: H.264 of an MJPEG stream, for one user. Says the port once it listens."""
import sys

import gi

gi.require_version('Gst', '1.0')
gi.require_version('GstRtspServer', '1.0')
from gi.repository import GLib, Gst, GstRtspServer

stream, user, password, port = sys.argv[1:]
Gst.init(None)

factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f'( souphttpsrc location={stream} is-live=true do-timestamp=true ! multipartdemux ! jpegdec ! videoconvert'
    ' ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 )')
factory.set_shared(True)
permissions = GstRtspServer.RTSPPermissions()
for what in (GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT):
    permissions.add_permission_for_role('viewer', what, True)
factory.set_permissions(permissions)

token = GstRtspServer.RTSPToken()
token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, 'viewer')
authentication = GstRtspServer.RTSPAuth()
authentication.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)

server = GstRtspServer.RTSPServer()
server.set_address('127.0.0.1')
server.set_service(port)
server.set_auth(authentication)
server.get_mount_points().add_factory('/door', factory)
if server.attach(None) == 0:
    sys.exit(f'port {port} is taken')
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
