# The daemon on Windows, as a service that starts with the system and is started again when it fails. Run it as an administrator, with
# mipvpn.exe and wintun.dll in the same folder. It has not been run on a real machine.
#
#     powershell -ExecutionPolicy RemoteSigned -File service.ps1            # install and start
#     powershell -ExecutionPolicy RemoteSigned -File service.ps1 -Remove    # stop and take away; first: mipvpn down
param([switch]$Remove, [string]$Folder = "C:\Program Files\mipvpn", [string]$Config = "C:\ProgramData\mipvpn\mipvpn.toml")
$ErrorActionPreference = "Stop"

if ($Remove) {
    Stop-Service -Name mipvpn
    & sc.exe delete mipvpn
    exit $LASTEXITCODE
}

if (-not (Test-Path $Config)) { throw "$Config is not there: write it first (mipvpn init)" }
# Secrets, hooks and state are for the system and administrators alone, whoever has made the folder.
# All in it changes hands: it must be the program's own, and no link may lead from it to others.
$Config = (Resolve-Path $Config).Path
$own = Split-Path $Config
if ((Split-Path $own -Leaf) -ne "mipvpn") { throw "$Config is in $own, expected in a folder named mipvpn: all in it is made the administrators'" }
if (@(Get-Item $own -Force) + @(Get-ChildItem $own -Recurse -Force) | Where-Object { $_.Attributes -band [IO.FileAttributes]::ReparsePoint }) { throw "$own is a link, or has one in it: take it away first" }
& icacls.exe $own /setowner "*S-1-5-32-544" /T /Q
if ($LASTEXITCODE -ne 0) { throw "the owner of $own could not be set" }
& icacls.exe $own /reset /T /Q
if ($LASTEXITCODE -ne 0) { throw "the rights of $own could not be reset" }
& icacls.exe $own /inheritance:r /grant "*S-1-5-18:(OI)(CI)F" "*S-1-5-32-544:(OI)(CI)F" "*S-1-5-32-545:(RX)"
if ($LASTEXITCODE -ne 0) { throw "the rights of $own could not be set" }
New-Service -Name mipvpn -DisplayName "mipvpn" -StartupType Automatic -Description "VPN client on Mobile IPv4 and IPsec" `
    -BinaryPathName "`"$Folder\mipvpn.exe`" daemon --config `"$Config`""
& sc.exe failure mipvpn reset= 60 actions= restart/1000
if ($LASTEXITCODE -ne 0) { throw "what happens when the service fails could not be set" }
# Also where it tells the service manager of its failure, and has not merely vanished.
& sc.exe failureflag mipvpn 1
if ($LASTEXITCODE -ne 0) { throw "what happens when the service fails could not be set" }
Start-Service -Name mipvpn
