-- Which ways into the Mac its Sharing settings have on: 1 or 0 each. While Remote Management is on, macOS
-- shares the screen through it and screen_sharing says 0.
-- cost: 50ms
SELECT remote_login, screen_sharing, remote_management, remote_apple_events
FROM sharing_preferences;
