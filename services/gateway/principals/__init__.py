"""What proves who asks: tokens, identity providers, the sealed account, senders of alerts; and the directory.

Nothing here looks at a body for who somebody is: an identity comes from the credential alone.
"""
